package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// arche is a checkpoint of a public Certificate Transparency log, with the cosignatures that public witnesses gave it.
const arche = `arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
`

var publicWitnesses = []string{
	"transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
	"witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
	"remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
	"witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
}

func TestPublicWitnessesAreVerified(t *testing.T) {
	text, lines, _ := strings.Cut(arche, "\n\n")
	for _, key := range publicWitnesses {
		w, err := ParseWitness(key)
		if err != nil || w.String() != key {
			t.Fatalf("%s: %v, %v", key, w, err)
		}
		line, at, err := w.Cosignature(Checkpoint{Note: arche}, lines)
		if want := time.Date(2026, 5, 23, 21, 50, 24, 0, time.UTC); err != nil || at.Before(want.AddDate(0, 0, -2)) || at.After(want.AddDate(0, 0, 2)) {
			t.Errorf("%s: made %v, %v", key, at, err)
		}
		if !strings.Contains(arche, line) || !strings.HasPrefix(line, "— "+w.Name()+" ") || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: %q", key, line)
		}
		for _, other := range []string{strings.Replace(text, "1432088532", "1432088533", 1), strings.Replace(text, "U7WM", "U7WN", 1), text + "\nmore"} {
			if _, _, err := w.Cosignature(Checkpoint{Note: other + "\n\n"}, lines); err == nil {
				t.Errorf("%s vouches for %q", key, other)
			}
		}
		if _, _, err := w.Cosignature(Checkpoint{Note: arche}, strings.Replace(lines, "EiEg", "EiEh", 4)); err == nil {
			t.Errorf("%s: another time is as good", key)
		}
	}
}

func TestKeysOfWitnesses(t *testing.T) {
	const remora = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
	mldsa := "w+00000000+" + base64.StdEncoding.EncodeToString(append([]byte{typeMLDSA}, make([]byte, 1312)...))
	for key, want := range map[string]string{
		"": "NAME+ID+KEY", "remora": "NAME+ID+KEY", "+da77ade7+BOvN": "NAME+ID+KEY", "a b+da77ade7+BOvN": "NAME+ID+KEY",
		strings.Replace(remora, "da77ade7", "da77ade", 1):  "NAME+ID+KEY",
		strings.Replace(remora, "da77ade7", "da77adex", 1): "eight hexadecimal digits",
		strings.Replace(remora, "da77ade7", "da77ade8", 1): "da77ade7: a letter is wrong",
		strings.Replace(remora, "BOvN", "BOvM", 1):         "a letter is wrong",
		remora + "A": "base64",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k": "key of a log",
		mldsa:                     "ML-DSA-44",
		"w+00000000+BOvN63jn":     "not an Ed25519 cosignature key",
		"w+00000000+":             "base64",
		"remora.n621.de+da77ade7": "NAME+ID+KEY",
	} {
		if _, err := ParseWitness(key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", key, err, want)
		}
	}
}

// cosigner makes cosignatures as C2SP tlog-cosignature tells, for tests.
type cosigner struct {
	*Witness
	key ed25519.PrivateKey
}

func newCosigner(t *testing.T, name string) cosigner {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &Witness{name: name, key: public}
	w.id = keyID(name, append([]byte{typeCosignature}, public...))
	return cosigner{w, key}
}

func (c cosigner) sign(text string, at int64) (line string) {
	b := binary.BigEndian.AppendUint32(nil, c.id)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, ed25519.Sign(c.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	return "— " + c.name + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

func TestTimesOfCosignatures(t *testing.T) {
	const text = "log\n1\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
	c := newCosigner(t, "w")
	line, at, err := c.Cosignature(Checkpoint{Note: text + "\n"}, newCosigner(t, "other").sign(text, 3)+c.sign(text, 1679315147))
	if err != nil || at.Unix() != 1679315147 || line != c.sign(text, 1679315147) {
		t.Errorf("%q at %v, %v", line, at, err)
	}
	if _, _, err := c.Cosignature(Checkpoint{Note: text + "\n"}, c.sign(text, -1)); err == nil {
		t.Error("a time after 2^63-1 is good")
	}
	for _, lines := range []string{"", "\n", "x", newCosigner(t, "w").sign(text, 3), newCosigner(t, "v").sign(text, 3), strings.Repeat(c.sign(text, 3), 101)} {
		if _, _, err := c.Cosignature(Checkpoint{Note: text + "\n"}, lines); err == nil {
			t.Errorf("%.80q is good", lines)
		}
	}
}
