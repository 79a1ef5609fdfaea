package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && slices.Contains([]string{unloggedCommand, crewCommand}, os.Args[1]): // started as a peer, or for a crowd
		main()
		return
	case os.Getenv(burnEnv) != "":
		burn(os.Getenv(burnEnv))
		return
	}
	os.Exit(m.Run())
}

// smokePlan is a plan that takes moments, with Postern built as people install it.
func smokePlan(t *testing.T, modeList, peerList string) plan {
	t.Helper()
	p := plan{rounds: 1, span: 50 * time.Millisecond, idle: 30, rest: 50 * time.Millisecond, bulkSize: 1 << 20, dir: t.TempDir(), seed: 1, progress: t.Output()}
	p.binary = buildPostern(t)
	var err error
	if p.modes, err = chooseModes(modeList); err != nil {
		t.Fatal(err)
	}
	if p.peers, err = choosePeers(peerList); err != nil {
		t.Fatal(err)
	}
	return p
}

func buildPostern(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern")
	if out, err := exec.Command("go", "build", "-o", path, "postern/cmd/postern").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// TestSmoke puts every kind of load on Postern as it is shipped, for a moment, and one on its relay without a log.
func TestSmoke(t *testing.T) {
	b, err := newBench(smokePlan(t, "short-8,bulk-1,medium,chatty-16,pipelined,paced,idle", "postern,direct"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	bare, err := choosePeers("postern-unlogged")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := b.measure(t.Context(), b.modes[0], bare[0], nil); err != nil || s.Work <= 0 {
		t.Errorf("without a log: %+v, %v", s, err)
	}
	for k, why := range b.results.out {
		if k.mode == "idle" && os.Getuid() != 0 {
			continue // a Postern that is not root's hides its memory from itself
		}
		t.Errorf("%s was left out of %s: %s", k.peer, k.mode, why)
	}
	for _, m := range b.modes {
		s := b.results.samples[key{m.name, "postern"}]
		if m.name != "idle" && (len(s) != 1 || s[0].Work <= 0 || s[0].CPU <= 0 || s[0].P50 <= 0) {
			t.Errorf("%s measured %+v", m.name, s)
		}
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(b.dir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// meddler passes octets on, except that it alters those of the backend.
func meddler(t *testing.T, backend string, alter func([]byte)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", backend)
			if err != nil {
				t.Error(err)
				near.Close()
				return
			}
			running.Go(func() { io.Copy(far, near); far.Close() })
			running.Go(func() {
				defer near.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := far.Read(b)
					alter(b[:n])
					if _, e := near.Write(b[:n]); err != nil || e != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// A relay that alters one octet of a message, or answers in another order, fails every load.
func TestContentsAreVerified(t *testing.T) {
	drops := newMaildrops(1 << 20)
	b, err := newBackend(drops)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	some, err := chooseModes("short-8,bulk-1,chatty-1,pipelined")
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func([]byte){
		"":                               func([]byte) {},
		"the reply is not what":          func(b []byte) { flip(b, "ada@example.test") },
		"UIDL 1: the reply is not what":  func(b []byte) { swap(b, "medium.1\r", "medium.2\r") },
		"LIST 1: the reply is not what":  func(b []byte) { flip(b, "+OK 1 2") },
		"NOOP: the reply is not what":    func(b []byte) { double(b) },
		"greeting: the reply is \"-ERR ": func(b []byte) { copy(b, bytes.Replace(b, []byte("+OK ready"), []byte("-ERR read"), 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			run := &trial{target: target{addr: meddler(t, loopback(b.port()), alter)}, drops: drops, span: 50 * time.Millisecond, idle: 2}
			var got []string
			for _, m := range some {
				if _, err := m.run(run); err != nil {
					got = append(got, fmt.Sprintf("%s: %v", m.name, err))
				}
			}
			all := strings.Join(got, "\n")
			if name == "" && all != "" || !strings.Contains(all, name) {
				t.Errorf("want %q in:\n%s", name, all)
			}
		})
	}
}

func flip(b []byte, text string) {
	if i := bytes.Index(b, []byte(text)); i >= 0 {
		b[i+len(text)-1] ^= 1
	}
}

func swap(b []byte, one, other string) {
	i, j := bytes.Index(b, []byte(one)), bytes.Index(b, []byte(other))
	if i >= 0 && j >= 0 {
		copy(b[i:], other)
		copy(b[j:], one)
	}
}

// double turns the reply to NOOP into one that says more.
func double(b []byte) {
	if string(b) == "+OK\r\n" {
		copy(b, "+OK.\n")
	}
}

// A peer that speaks another TLS is not measured.
func TestTheTLSIsVerified(t *testing.T) {
	common, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(common.cert, common.key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := tls.LoadX509KeyPair(other.cert, other.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tls.Config{
		"good":        {Certificates: []tls.Certificate{pair}},
		"certificate": {Certificates: []tls.Certificate{foreign}},
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			if conn, err := l.Accept(); err == nil {
				io.Copy(io.Discard, conn) // which begins with the handshake
				conn.Close()
			}
		})
		conn, err := tls.Dial("tcp", l.Addr().String(), clientTLS(common.der))
		if (err == nil) != (name == "good") || err != nil && !errors.Is(err, errCipher) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
		l.Close()
		served.Wait()
	}
	if key := pair.PrivateKey.(*ecdsa.PrivateKey); key.Curve != elliptic.P256() {
		t.Errorf("the key is on %s", key.Curve.Params().Name)
	}
}

const burnEnv = "POSTERN_BENCH_BURN"

// burn computes for a while, and as "parent" has children that do, one of which it waits for. It tells when it is
// done, and waits to be killed.
func burn(role string) {
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
		io.CopyN(io.Discard, rand.Reader, 1<<10)
	}
	if role == "parent" {
		for _, child := range []string{"ends", "stays"} {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), burnEnv+"="+child)
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			out.Read(make([]byte, 1))
			if child == "ends" {
				cmd.Wait()
			}
		}
	}
	fmt.Println()
	if role != "ends" {
		select {}
	}
}

// The whole tree is measured: the parent, the child that is there, and the one that has been waited for.
func TestMeterSeesTheTree(t *testing.T) {
	t.Setenv(burnEnv, "parent")
	p, err := start(t.TempDir(), []string{os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for deadline := time.Now().Add(patience); p.lastWords() == "" && fileSize(p.log) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the child burns for ever")
		}
		time.Sleep(10 * time.Millisecond)
	}
	m := meter(p.cmd.Process.Pid)
	tree, err := m.tree()
	if err != nil || len(tree) != 2 {
		t.Fatalf("the tree has %d processes, %v; want 2", len(tree), err)
	}
	cpu, err := m.cpu()
	if err != nil {
		t.Fatal(err)
	}
	if one := clockOf(int(m)); one <= 0 || cpu < 2*one/2+one/4 {
		t.Errorf("the parent took %v, all took %v", one, cpu)
	}
	memory, err := m.memory()
	if one, err := pss(int(m)); err != nil || one <= 0 || memory <= one {
		t.Errorf("the parent has %d octets, all have %d: %v", one, memory, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestParseStat(t *testing.T) {
	p, err := parseStat("42 (a ) (b) S 7 42 41 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7\n")
	want := status{pid: 42, parent: 7, session: 41, own: 1200 * time.Millisecond, reaped: 70 * time.Millisecond}
	if err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, line := range []string{"", "42 (a) S", "42 (a) S 7 x 41 0 -1 4194560 1 2 3 4 100 20 3 4 20"} {
		if _, err := parseStat(line); err == nil {
			t.Errorf("%q passes", line)
		}
	}
}

// What the report says is computed from samples that are known.
func TestReport(t *testing.T) {
	p := plan{rounds: 3, span: time.Second}
	var err error
	if p.modes, err = chooseModes("short-8,paced-idle,idle"); err != nil {
		t.Fatal(err)
	}
	p.peers = []peer{{name: reference, title: "HAProxy"}, {name: "postern", title: "Postern"}, {name: "broken", title: "Br<ken"}, {name: direct}}
	r := newResults(p)
	for round, us := range []time.Duration{300, 100, 200} {
		at := func(mode, peer int, d time.Duration) {
			r.add(p.modes[mode], p.peers[peer], round, sample{CPU: 10 * d, Wall: time.Second, Work: 10, P50: d, P99: 2 * d, Bytes: 10 << 10})
		}
		us *= time.Microsecond
		at(0, 0, us)
		at(0, 1, us/2) // half in every round
		at(1, 3, us)   // without a peer
		at(1, 0, us+40*time.Microsecond)
		at(1, 1, us+70*time.Microsecond)
		at(2, 1, us)
	}
	for _, m := range p.modes {
		r.leaveOut(m, p.peers[2], errors.New("no good"))
	}
	got := r.report()
	for _, want := range []string{
		"| HAProxy | 200 | 100-300 | 1.00 (1.00-1.00) | 10 | 400 |\n",
		"| Postern | 100 | 50-150 | 0.50 (0.50-0.50) | 10 | 200 |\n",
		"| | added p50 µs | spread |",
		"| HAProxy | 40 | 40-40 | +0 µs | 80 |\n",
		"| Postern | 70 | 70-70 | +30 µs | 140 |\n",
		"| Postern | 1.0 | 1.0-1.0 |  |\n", // of idle, where the reference is missing
		"- Br<ken: no good (short-8, paced-idle, idle)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := xml.Unmarshal([]byte(r.chart()), new(struct{})); err != nil {
		t.Errorf("chart: %v", err)
	}
	if raw, err := r.raw(); err != nil || !bytes.Contains(raw, []byte(`"left_out": "no good"`)) {
		t.Errorf("raw: %s, %v", raw, err)
	}
}

func TestFlags(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "postern")
	if err := os.WriteFile(binary, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	flags := func(more ...string) []string {
		return append([]string{"-postern", binary, "-dir", t.TempDir()}, more...)
	}
	p, _, err := parsePlan(flags("-modes", "short,idle", "-peers", "haproxy,postern", "-rounds", "2", "-seconds", "0.5"))
	if err != nil || len(p.modes) != 3 || len(p.peers) != 2 || p.rounds != 2 || p.span != time.Second/2 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range [][]string{
		flags("-modes", "shor"), flags("-peers", "apache"), flags("-rounds", "0"), flags("-seconds", "0"), flags("more"), {"-postern", "/nowhere"},
	} {
		if err := run(context.Background(), bad); err == nil {
			t.Errorf("%v passes", bad)
		}
	}
}

// Those who meet go on together, and nobody waits for one that has left.
func TestRendezvous(t *testing.T) {
	r := newRendezvous(3)
	var here atomic.Int64
	var running sync.WaitGroup
	for i := range 3 {
		running.Go(func() {
			defer r.leave()
			here.Add(1)
			if r.meet(); here.Load() < 3 {
				t.Error("one went on before all were here")
			}
			if i == 0 {
				return // which frees the others
			}
			r.meet()
		})
	}
	running.Wait()
}
