package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is a program that stands between clients and the backend.
type peer struct {
	name    string
	title   string
	program string // "" is none: clients go to the backend, in clear text
	debian  string // the package that brings it; "" is our own
	// command writes what the program needs into the place and returns the arguments that start it there, in
	// the foreground.
	command func(place) ([]string, error)
}

// The peers that others are measured against.
const (
	reference = "haproxy" // ratios are to it
	direct    = "direct"  // added times are to it
)

// peers are all columns of the report. Each has as many workers or threads as the machine has processors, writes no
// log of its sessions and otherwise keeps its defaults; their TLS is the same, and every handshake is held to that.
var peers = []peer{
	{name: reference, title: "HAProxy", program: "haproxy", debian: "haproxy", command: haproxy},
	{name: "nginx-stream", title: "nginx (stream)", program: "nginx", debian: "libnginx-mod-stream", command: nginxStream},
	{name: "nginx-mail", title: "nginx (mail)", program: "nginx", debian: "libnginx-mod-mail", command: nginxMail},
	{name: "hitch", title: "hitch", program: "hitch", debian: "hitch", command: hitch},
	{name: "stunnel", title: "stunnel", program: "stunnel4", debian: "stunnel4", command: stunnel},
	{name: "dovecot", title: "Dovecot (proxy)", program: "dovecot", debian: "dovecot-pop3d", command: dovecot},
	{name: "postern", title: "Postern", command: postern("strict")},
	{name: "postern-relaxed", title: "Postern, relaxed", command: postern("relaxed")},
	{name: "postern-unlogged", title: "Postern's relay, no log", command: unlogged},
	{name: direct, title: "no peer"},
}

func choosePeers(list string) (chosen []peer, err error) {
	if list == "all" {
		return peers, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer %q; there are %s", name, strings.Join(names(peers, func(p peer) string { return p.name }), ", "))
		}
		chosen = append(chosen, peers[i])
	}
	return chosen, nil
}

// find returns the path of the peer's program, or says which package is missing.
func (p peer) find() (string, error) {
	for _, dir := range []string{"", "/usr/sbin/"} { // servers live outside a plain user's PATH
		if path, err := exec.LookPath(dir + p.program); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: apt-get install %s", p.program, p.debian)
}

// place is where a peer runs: its own folder, its ports, and what it shares with all others.
type place struct {
	dir            string
	port           int // where clients come in
	spare1, spare2 int // more ports, for what a peer listens on besides
	backend        int // the backend's port
	judge          int // the port that answers nginx's questions of who may log in
	workers        int
	cert, key      string // PEM files, and
	pem            string // both in one
	binary         string // Postern's
}

// file writes a configuration into the place, its lines' {{words}} replaced, and returns its path.
func (p place) file(name, text string, more ...string) (string, error) {
	words := []string{
		"{{dir}}", p.dir, "{{port}}", fmt.Sprint(p.port), "{{backend}}", fmt.Sprint(p.backend), "{{judge}}", fmt.Sprint(p.judge),
		"{{workers}}", fmt.Sprint(p.workers), "{{cert}}", p.cert, "{{key}}", p.key, "{{pem}}", p.pem,
	}
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, []byte(strings.NewReplacer(append(words, more...)...).Replace(text)), 0o644)
}

// loopback is the address of a port of this machine.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
