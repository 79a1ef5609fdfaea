package tlsup

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// must ends the test if one of these steps failed.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Replacing by rename, through a symbolic link, with the same size and time is still a change.
func TestReloadRenamed(t *testing.T) {
	dir := t.TempDir()
	first, second := newPair(t, "aaaaa.example.test", soon(), 0), newPair(t, "bbbbb.example.test", soon(), 0)
	for name, p := range map[string]pair{"one": first, "two": second} {
		both := write(t, dir, name, append(p.cert, p.key...))
		stamp := time.Unix(1_700_000_000, 0)
		if err := os.Chtimes(both, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	link := dir + "/live"
	must(t, os.Symlink("one", link))
	s := open(t, Config{Files: []Pair{{link, link}}})
	must(t, os.Symlink("two", dir+"/new"), os.Rename(dir+"/new", link))
	within(t, "the other", func() bool { return s.Certificates()[0].Names[0] == "bbbbb.example.test" })
}

// replacement is a way in which programs replace a pair of files: lay puts the first one down, then every call of
// next replaces it.
type replacement struct {
	lay  func(t *testing.T, dir string, p pair) Pair
	next func(t *testing.T, dir string, p pair)
}

func layFolder(t *testing.T, dir string, p pair) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	p.config(t, dir)
}

// inFolder is the pair in a folder of dir.
func inFolder(dir, folder string) Pair {
	return Pair{filepath.Join(dir, folder, "cert.pem"), filepath.Join(dir, folder, "key.pem")}
}

// replacements are all but the plain one, which TestReload has. Where no folder is watched any more after the first
// time, the second would not be noticed.
var replacements = map[string]replacement{
	"links in the folder, as certbot": {
		lay: func(t *testing.T, dir string, p pair) Pair {
			layFolder(t, dir+"/archive", p)
			must(t, os.Mkdir(dir+"/live", 0o700), os.Symlink("../archive/cert.pem", dir+"/live/cert.pem"),
				os.Symlink("../archive/key.pem", dir+"/live/key.pem"))
			return inFolder(dir, "live")
		},
		next: func(t *testing.T, dir string, p pair) {
			name := "archive-" + p.leaf.SerialNumber.Text(16)
			layFolder(t, dir+"/"+name, p)
			for _, file := range []string{"cert.pem", "key.pem"} {
				must(t, os.Remove(dir+"/live/"+file), os.Symlink("../"+name+"/"+file, dir+"/live/"+file))
			}
		},
	},
	"a link between, as Kubernetes": {
		lay: func(t *testing.T, dir string, p pair) Pair {
			layFolder(t, dir+"/..first", p)
			must(t, os.Symlink("..first", dir+"/..data"), os.Symlink("..data/cert.pem", dir+"/cert.pem"),
				os.Symlink("..data/key.pem", dir+"/key.pem"))
			return inFolder(dir, "")
		},
		next: func(t *testing.T, dir string, p pair) {
			name := ".." + p.leaf.SerialNumber.Text(16)
			layFolder(t, dir+"/"+name, p)
			must(t, os.Symlink(name, dir+"/..new"), os.Rename(dir+"/..new", dir+"/..data"))
		},
	},
	"the folder is a link": {
		lay: func(t *testing.T, dir string, p pair) Pair {
			layFolder(t, dir+"/first", p)
			must(t, os.Symlink(dir+"/first", dir+"/live"))
			return inFolder(dir, "live")
		},
		next: func(t *testing.T, dir string, p pair) {
			name := dir + "/" + p.leaf.SerialNumber.Text(16)
			layFolder(t, name, p)
			must(t, os.Symlink(name, dir+"/new"), os.Rename(dir+"/new", dir+"/live"))
		},
	},
	"the folder is moved away": {
		lay: func(t *testing.T, dir string, p pair) Pair {
			layFolder(t, dir+"/live", p)
			return inFolder(dir, "live")
		},
		next: func(t *testing.T, dir string, p pair) {
			layFolder(t, dir+"/new", p)
			must(t, os.Rename(dir+"/live", dir+"/"+p.leaf.SerialNumber.Text(16)), os.Rename(dir+"/new", dir+"/live"))
		},
	},
	"the folder is removed": {
		lay: func(t *testing.T, dir string, p pair) Pair {
			layFolder(t, dir+"/live", p)
			return inFolder(dir, "live")
		},
		next: func(t *testing.T, dir string, p pair) {
			must(t, os.RemoveAll(dir+"/live"))
			layFolder(t, dir+"/live", p)
		},
	},
}

// However a pair is replaced, the new one is served within a second, time after time.
func TestReplacements(t *testing.T) {
	for name, r := range replacements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, Config{Files: []Pair{r.lay(t, dir, newPair(t, "first.example.test", soon(), 0))}})
			for range 3 {
				p := newPair(t, "next.example.test", soon(), 0)
				r.next(t, dir, p)
				took := within(t, "served", func() bool { return s.files[0].leaf().Equal(p.leaf) })
				t.Logf("served after %v", took)
			}
		})
	}
}

// A directory in which something happens all the time puts nothing off.
func TestBusyDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, newPair(t, "first.example.test", soon(), 0).config(t, dir))
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for ; ; time.Sleep(settle / 10) {
			select {
			case <-done:
				return
			default:
			}
			if err := os.WriteFile(dir+"/noise", nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}()
	next := newPair(t, "next.example.test", soon(), 0)
	next.config(t, dir)
	within(t, "served", func() bool { return s.files[0].leaf().Equal(next.leaf) })
	close(done)
	<-stopped
}

// Whoever is told of a turn may ask for the list at once.
func TestNotifyMayAsk(t *testing.T) {
	var s *Source
	told := make(chan []Certificate, 8)
	dir, opened := t.TempDir(), make(chan struct{})
	c := newPair(t, "first.example.test", soon(), 0).config(t, dir)
	c.Notify = func(Event) { <-opened; told <- s.Certificates() }
	s = open(t, c)
	close(opened)
	newPair(t, "next.example.test", soon(), 0).config(t, dir)
	if got := <-told; got[0].Names[0] != "next.example.test" {
		t.Errorf("told %+v", got)
	}
	write(t, dir, "cert.pem", nil)
	if got := <-told; got[0].Err == "" {
		t.Errorf("told %+v", got)
	}
}

func TestDirectories(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err, os.MkdirAll(dir+"/a/b", 0o700), os.Symlink("../c/./d", dir+"/a/link"), os.MkdirAll(dir+"/c/d", 0o700),
		os.Symlink(dir+"/a/b", dir+"/c/d/absolute"), os.Symlink("loop", dir+"/loop"))
	write(t, dir, "a/b/file", nil)
	tests := map[string][]string{
		"a/b/file":               {"a/b"},
		"a/b/missing":            {"a/b"},
		"a/missing/deep/er":      {"a"},
		"a/link/absolute/file":   {"a", "c/d", "a/b"},
		"a/link/missing":         {"a", "c/d"},
		"a//b/../link/./missing": {"a", "c/d"},
	}
	for path, want := range tests {
		var got []string
		for _, d := range directories(filepath.Join(dir, path)) {
			rel, err := filepath.Rel(dir, d)
			must(t, err)
			got = append(got, rel)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := directories(dir + "/loop/file"); len(got) > maxLinks+1 {
		t.Errorf("a link to itself leads to %d directories", len(got))
	}
}

// Client authorities are held to as they are on disk, in sessions that are resumed too.
func TestClientAuthoritiesAndResumption(t *testing.T) {
	dir := t.TempDir()
	old, fresh := newPair(t, "old", soon(), 0), newPair(t, "fresh", soon(), 0)
	roots := write(t, dir, "clients.pem", old.cert)
	s := open(t, Config{Local: true, DataDir: t.TempDir(), Clients: ClientAuth{Mode: ClientsRequire, CAFile: roots}})
	addr := greet(t, listen(t), s.TLSConfig())
	clientOf := func(p pair) *tls.Config {
		cert, err := tls.X509KeyPair(p.cert, p.key)
		must(t, err)
		return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert},
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	client := clientOf(old)
	for _, want := range []bool{false, true} {
		if state, err := dial(addr, client); err != nil || state.DidResume != want {
			t.Fatalf("resumed %v, want %v, error %v", state.DidResume, want, err)
		}
	}
	write(t, dir, "clients.pem", nil) // for a moment
	write(t, dir, "clients.pem", fresh.cert)
	within(t, "vouched for", func() bool { _, err := dial(addr, clientOf(fresh)); return err == nil })
	if state, err := dial(addr, client); err == nil {
		t.Errorf("a session of one whom nobody vouches for any more goes on, resumed %v", state.DidResume)
	}
}
