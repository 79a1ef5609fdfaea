package peers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// curl fetches all messages over one connection.
func curl(j job) ([][]byte, error) {
	scheme := "pop3"
	if j.Mode == TLS {
		scheme = "pop3s"
	}
	args := []string{"--silent", "--show-error", "--max-time", "110", "--user", j.User + ":" + j.Password,
		"--output", "message-#1"}
	if j.Mode != Plain {
		args = append(args, "--ssl-reqd", "--cacert", j.CAFile)
	}
	if j.Own.Cert != "" {
		args = append(args, "--cert", j.Own.Cert, "--key", j.Own.Key)
	}
	args = append(args, fmt.Sprintf("%s://%s/[1-%d]", scheme, j.Addr, j.count))
	if _, err := j.run("", args...); err != nil {
		return nil, err
	}
	return j.delivered("")
}

// fetchmailConf: every message, nothing rewritten, each to a file of its own.
const fetchmailConf = `set invisible
set no bouncemail
poll peer via "%[1]s" service "%[2]s" protocol pop3 timeout 100
  user "%[3]s" password "%[4]s" %[5]s
  fetchall keep no rewrite no mimedecode mda "cat > $(mktemp -p mail XXXXXXXX)"
`

func fetchmail(j job) ([][]byte, error) {
	security := map[Mode]string{
		Plain: `sslproto ""`,
		TLS:   `ssl sslcertck sslcertfile "` + j.CAFile + `"`,
		STLS:  `sslproto "TLS1.2+" sslcertck sslcertfile "` + j.CAFile + `"`,
	}[j.Mode]
	conf, err := j.write("fetchmailrc", fmt.Sprintf(fetchmailConf, j.host, j.port, j.User, j.Password, security))
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(j.dir, "mail"), 0o755); err != nil {
		return nil, err
	}
	if _, err := j.run("", "-f", conf, "--nosyslog", "--pidfile", filepath.Join(j.dir, "pid")); err != nil {
		return nil, err
	}
	return j.delivered("mail")
}

const mpopConf = `account peer
host %s
port %s
user %s
password %s
keep on
uidls_file %s/uidls
received_header off
delivery maildir %s/mail
%s
account default : peer
`

func mpop(j job) ([][]byte, error) {
	security := map[Mode]string{
		Plain: "tls off\nauth plain",
		TLS:   "tls on\ntls_starttls off\nauth plain\ntls_trust_file " + j.CAFile,
		STLS:  "tls on\ntls_starttls on\nauth plain\ntls_trust_file " + j.CAFile,
	}[j.Mode]
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(j.dir, "mail", sub), 0o755); err != nil {
			return nil, err
		}
	}
	conf, err := j.write("mpoprc", fmt.Sprintf(mpopConf, j.host, j.port, j.User, j.Password, j.dir, j.dir, security))
	if err != nil {
		return nil, err
	}
	if _, err := j.run("", "--file="+conf, "--quiet"); err != nil {
		return nil, err
	}
	return j.delivered("mail/new")
}

const getmailConf = `[retriever]
type = %s
server = %s
port = %s
username = %s
password = %s
%s
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > $(mktemp -p mail XXXXXXXX)")
allow_root_commands = true
[options]
read_all = true
delete = false
received = false
delivered_to = false
`

// getmailScript runs getmail with its wait for the program that it delivers to mended: it listens for the program's end
// only after the start, and stalls when that was quicker.
const getmailScript = `
import os, runpy, sys
from getmailcore.baseclasses import ForkingBase
ForkingBase._prepare_child = lambda self: None
ForkingBase._wait_for_child = lambda self, pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
`

// getmail cannot do STLS.
func getmail(j job) ([][]byte, error) {
	kind, security := "SimplePOP3Retriever", ""
	if j.Mode == TLS {
		kind, security = "SimplePOP3SSLRetriever", "ca_certs = "+j.CAFile
	}
	if err := os.Mkdir(filepath.Join(j.dir, "mail"), 0o755); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(getmailConf, kind, j.host, j.port, j.User, j.Password, security)
	if _, err := j.write("getmailrc", text); err != nil {
		return nil, err
	}
	program := j.bin
	j.bin = "/usr/bin/python3" // Debian's own, which has getmail's modules
	if _, err := j.run("", "-c", getmailScript, program, "--getmaildir="+j.dir, "--rcfile=getmailrc", "--quiet"); err != nil {
		return nil, err
	}
	return j.delivered("mail")
}

// poplibScript logs in by APOP where the greeting has a stamp.
const poplibScript = `
import poplib, ssl, struct, sys
host, port, mode, user, password, cafile = sys.argv[1:]
poplib._MAXLINE = 1 << 24
context = ssl.create_default_context(cafile=cafile) if cafile else None
if mode == "pop3s":
    pop = poplib.POP3_SSL(host, int(port), timeout=100, context=context)
else:
    pop = poplib.POP3(host, int(port), timeout=100)
if mode == "stls":
    pop.stls(context)
if b"<" in pop.getwelcome():
    pop.apop(user, password)
else:
    pop.user(user)
    pop.pass_(password)
for line in pop.uidl()[1]:
    mail = b"\n".join(pop.retr(int(line.split()[0]))[1])
    sys.stdout.buffer.write(struct.pack(">I", len(mail)) + mail)
pop.quit()
`

func pythonPoplib(j job) ([][]byte, error) {
	out, err := j.run("", "-c", poplibScript, j.host, j.port, string(j.Mode), j.User, j.Password, j.CAFile)
	if err != nil {
		return nil, err
	}
	return chunks(out)
}

const perlScript = `
use strict; use warnings; use Net::POP3;
my ($host, $port, $mode, $user, $password, $ca) = @ARGV;
my @tls = (SSL_ca_file => $ca, SSL_verifycn_scheme => "none");
my $pop = Net::POP3->new($host, Port => $port, Timeout => 100, $mode eq "pop3s" ? (SSL => 1, @tls) : ())
  or die "connect: $@";
$pop->starttls(@tls) or die "starttls: $@" if $mode eq "stls";
defined $pop->login($user, $password) or die "login: " . $pop->message;
my $list = $pop->list or die "list";
binmode STDOUT;
for my $n (sort { $a <=> $b } keys %$list) {
  my $mail = join "", @{ $pop->get($n) or die "get $n" };
  print pack("N", length $mail), $mail;
}
$pop->quit or die "quit";
`

func perlNetPOP3(j job) ([][]byte, error) {
	out, err := j.run("", "-e", perlScript, j.host, j.port, string(j.Mode), j.User, j.Password, j.CAFile)
	if err != nil {
		return nil, err
	}
	return chunks(out)
}

// openssl is a TLS pipe: all commands are written at once, and the replies are told apart here. Only QUIT waits until the
// mail is there: of 20 MB on their way to a busy client Dovecot's good-bye cut off the end.
func openssl(j job) ([][]byte, error) {
	commands := []string{"USER " + j.User, "PASS " + j.Password}
	for n := range j.count {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	args := []string{"s_client", "-quiet", "-verify_return_error", "-CAfile", j.CAFile, "-connect", j.Addr}
	if j.Mode == STLS {
		args = append(args, "-starttls", "pop3")
	}
	if j.Own.Cert != "" {
		args = append(args, "-cert", j.Own.Cert, "-key", j.Own.Key)
	}
	out := &bodies{left: j.count, whole: make(chan struct{})}
	stdin := io.MultiReader(strings.NewReader(strings.Join(commands, "\r\n")+"\r\n"), until{out.whole, j.ctx}, strings.NewReader("QUIT\r\n"))
	if err := j.pipe(stdin, out, args); err != nil {
		return nil, err
	}
	return splitReplies(j.Mode, append(commands, "QUIT"), out.all)
}

// bodies is what a server says. It closes whole when as many multi-line replies have ended as are left.
type bodies struct {
	all   []byte
	left  int
	whole chan struct{}
}

func (b *bodies) Write(p []byte) (int, error) {
	const terminator = "\r\n.\r\n"
	seen := max(0, len(b.all)-len(terminator)+1) // the last octets of it may be the first of one
	b.all = append(b.all, p...)
	if b.left > 0 {
		if b.left -= bytes.Count(b.all[seen:], []byte(terminator)); b.left <= 0 {
			close(b.whole)
		}
	}
	return len(p), nil
}

// until is an input without anything in it, which ends when c closes or ctx ends.
type until struct {
	c   <-chan struct{}
	ctx context.Context
}

func (u until) Read([]byte) (int, error) {
	select {
	case <-u.c:
	case <-u.ctx.Done():
	}
	return 0, io.EOF
}

// splitReplies returns the contents of the RETRs among commands.
func splitReplies(mode Mode, commands []string, out []byte) ([][]byte, error) {
	r := bufio.NewReader(bytes.NewReader(out))
	if mode == TLS {
		commands = append([]string{"greeting"}, commands...)
	}
	var mail [][]byte
	for _, command := range commands {
		reply, err := readReply(r, command)
		if err != nil || !OK(reply) {
			return nil, fmt.Errorf("%.4s is answered %.200q: %w", command, reply, err)
		}
		if strings.HasPrefix(command, "RETR") {
			mail = append(mail, Content(reply))
		}
	}
	return mail, nil
}
