package audit

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// openStoried opens a log in which everything has happened.
func openStoried(t *testing.T) (*storied, *Reader) {
	t.Helper()
	s := newStoried(t)
	r, err := OpenReader(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return s, r
}

func TestEveryRecordIsProven(t *testing.T) {
	s, r := openStoried(t)
	for seq := int64(1); seq <= s.last; seq++ {
		p, err := r.Prove(t.Context(), seq)
		if s.deleted.first <= seq && seq <= s.deleted.last {
			if !errors.Is(err, ErrDeleted) {
				t.Errorf("record %d, which was deleted: %v", seq, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var read Proof
		text, err := json.Marshal(p)
		if err == nil {
			err = json.Unmarshal(text, &read)
		}
		if err != nil {
			t.Fatal(err)
		}
		shown, err := read.Check(p.Keys[0].Key)
		if err != nil || shown.Seq != seq || shown.Size != s.last || !shown.Trusted || len(shown.Cosigned) > 0 {
			t.Errorf("record %d: %+v, %v", seq, shown, err)
		}
	}
	for _, seq := range []int64{-1, 0, s.last + 1} {
		if _, err := r.Prove(t.Context(), seq); !errors.Is(err, ErrNotFound) {
			t.Errorf("record %d, which never was: %v", seq, err)
		}
	}
}

// prove returns the proof of a record as any JSON.
func proveJSON(t *testing.T, r *Reader, seq int64) map[string]any {
	t.Helper()
	p, err := r.Prove(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return asJSON(t, p)
}

func asJSON(t *testing.T, v any) (read map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		err = d.Decode(&read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// eachChange calls try with v after each change of one value in it.
func eachChange(v any, try func(what string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, old := range v {
			change(key, old, func(to any) { v[key] = to }, try)
			if key != "signature" && key != "record" && old != json.Number("0") {
				delete(v, key)
				try(key + " left out")
				v[key] = old
			}
		}
	case []any:
		for i, old := range v {
			change("list", old, func(to any) { v[i] = to }, try)
		}
	}
}

func change(key string, old any, set func(any), try func(what string)) {
	switch was := old.(type) {
	case string:
		for i := range len(was) {
			if i%(1+len(was)/40) != 0 && !strings.HasPrefix(was[i+1:], "=") { // the octet before that has bits that say nothing
				continue
			}
			to := []byte(was)
			if to[i]++; was[i] == 'z' || was[i] == 'Z' || was[i] == '9' {
				to[i] = 'A'
			}
			set(string(to))
			try(key + " with another octet")
		}
		set(was + "x")
		try(key + " longer")
	case json.Number:
		if key != "record" { // it tells where to look for the key, and vouches for nothing
			set(json.Number("1" + string(was)))
			try(key + " another number")
		}
	default:
		eachChange(old, try)
	}
	set(old)
}

func TestAProofHoldsInEveryValue(t *testing.T) {
	s, r := openStoried(t)
	for _, seq := range []int64{1, 8, 12, 560, s.last} {
		p := proveJSON(t, r, seq)
		key := p["keys"].([]any)[0].(map[string]any)["key"].(string)
		tried := 0
		eachChange(p, func(what string) {
			tried++
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var read Proof
			if json.Unmarshal(text, &read) != nil {
				return
			}
			if _, err := read.Check(key); err == nil {
				t.Errorf("record %d: %s is still proven:\n%s", seq, what, text)
			}
		})
		if tried < 100 {
			t.Errorf("%d changes were tried", tried)
		}
	}
}

func TestAProofIsOfOneKey(t *testing.T) {
	_, r := openStoried(t)
	p, err := r.Prove(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKey(nameOf(p.Keys[0].Key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(other.verifier); err == nil || !strings.Contains(err.Error(), "no key that was given vouches") {
		t.Errorf("with another key: %v", err)
	}
	if shown, err := p.Check(other.verifier, p.Keys[0].Key); err != nil || !shown.Trusted {
		t.Errorf("with two keys: %v", err)
	}
	if shown, err := p.Check(); err != nil || shown.Trusted {
		t.Errorf("with no key: %v", err)
	}
}

func TestTlogProof(t *testing.T) {
	// The example of C2SP tlog-proof, its signatures shortened there, too.
	const example = `c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

— example.com/fancylog hI2DJw[...]1roloI=
`
	index, path, checkpoint, err := parseTlogProof(strings.Replace(example, "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ", "extra YWdl", 1))
	if err != nil || index != 73894 || len(path) != 5 || path[4].String() != "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=" {
		t.Errorf("read as %d, %v, %v", index, path, err)
	}
	if c, err := parseCheckpoint(checkpoint, "example.com/fancylog"); err != nil || c.Size != 109482 {
		t.Errorf("checkpoint %+v, %v", c, err)
	}
	if text := formatTlogProof(index, path, checkpoint); text != strings.Replace(example, "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\n", "", 1) {
		t.Errorf("written as %s", text)
	}
	if _, path, _, err := parseTlogProof("c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"); err != nil || len(path) != 0 {
		t.Errorf("a tree of one record: %v", err)
	}
	for _, bad := range []string{
		"", "not a proof at all", "c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\nindex 0\n\nx\n", "c2sp.org/tlog-proof@v1\nindex 01\n\nx\n",
		"c2sp.org/tlog-proof@v1\nindex -1\n\nx\n", "c2sp.org/tlog-proof@v1\nextra ?\nindex 1\n\nx\n", "c2sp.org/tlog-proof@v1\nindex 1\nshort\n\nx\n",
	} {
		if _, _, _, err := parseTlogProof(bad); !errors.Is(err, errTlogProof) {
			t.Errorf("%q is a proof", bad)
		}
	}
}

// TestTlogProofOfTheVectors proves the leaves of Certificate Transparency's tree in this form.
func TestTlogProofOfTheVectors(t *testing.T) {
	for _, v := range ctInclusion {
		var path tlog.RecordProof
		for _, text := range v.path {
			path = append(path, unhex(t, text))
		}
		index, read, _, err := parseTlogProof(formatTlogProof(v.leaf-1, path, "checkpoint\n"))
		if err != nil || index != v.leaf-1 || !slices.Equal(read, path) {
			t.Errorf("read as %d, %v, %v", index, read, err)
		}
	}
}
