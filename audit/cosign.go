package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// maxCosigning bounds the cosignatures that wait for a commit; each witness brings one at a time.
	maxCosigning = 64
	// maxSignatures bounds the signatures of one checkpoint, as golang.org/x/mod/sumdb/note does, which reads them.
	maxSignatures = 100
)

// cosigning is what a commit adds to a checkpoint.
type cosigning struct {
	size  int64
	lines string
	wrong error      // with the lines or the size, told by the writer
	done  chan error // what became of it; capacity 1
}

// Cosign adds a witness's cosignature, one or more lines of a signed note, to the checkpoint of that size, and returns when
// that is on disk. Of one signer the first signature stays. The caller has verified the lines.
func (l *Log) Cosign(ctx context.Context, size int64, lines string) error {
	c := &cosigning{size: size, lines: lines, done: make(chan error, 1)}
	if err := l.queueCosigning(c); err != nil {
		return fmt.Errorf("keep cosignature: %w", err)
	}
	var err error
	select {
	case err = <-c.done:
	case <-l.done:
		err = ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("keep cosignature: %w", err)
	}
	return nil
}

func (l *Log) queueCosigning(c *cosigning) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.gone:
		return ErrClosed
	case l.reason != "":
		return errors.New(l.reason)
	case len(l.cosigning) >= maxCosigning:
		return errors.New("too many wait for the log")
	}
	l.cosigning = append(l.cosigning, c)
	l.nudge()
	return nil
}

// takeCosigning hands what was queued to the writer.
func (l *Log) takeCosigning() []*cosigning {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.cosigning
	l.cosigning = nil
	return c
}

// cosign writes what was queued.
func (w *writer) cosign() (err error) {
	for _, c := range w.cosigns {
		if c.wrong, err = w.store.cosign(c.size, c.lines); err != nil {
			return err
		}
	}
	return nil
}

// answer tells those who queued cosignatures what the commit made of them.
func answer(cosigns []*cosigning, err error) {
	for _, c := range cosigns {
		if err != nil {
			c.done <- err
			continue
		}
		c.done <- c.wrong
	}
}

// cosigned returns a signed note with signature lines added, those of signers that have signed it already left out.
// Nothing of the note changes.
func cosigned(signed, lines string) (string, error) {
	text, signatures, found := strings.Cut(signed, "\n\n")
	if !found || text == "" {
		return "", errCheckpoint
	}
	all := strings.SplitAfter(signatures, "\n")
	all = all[:len(all)-1] // behind the last newline there is nothing
	signers := make(map[string]bool, len(all))
	for _, line := range all {
		signers[signerOf(line)] = true
	}
	for line := range strings.SplitAfterSeq(lines, "\n") {
		if line == "" {
			continue
		}
		signer := signerOf(line)
		switch {
		case signer == "":
			return "", fmt.Errorf("%.80q is no line of a signed note", line)
		case signers[signer]:
			continue
		case len(all) >= maxSignatures:
			return "", fmt.Errorf("a checkpoint has %d signatures at most", maxSignatures)
		}
		signers[signer] = true
		all = append(all, line)
		signed += line
	}
	return signed, nil
}

// signerOf returns the name and the key of who made a signature line, "" if it is none.
func signerOf(line string) string {
	const keyID = 4 // octets, before those of the signature
	line, dash := strings.CutPrefix(line, "— ")
	line, end := strings.CutSuffix(line, "\n")
	name, signature, space := strings.Cut(line, " ")
	b, err := base64.StdEncoding.Strict().DecodeString(signature)
	if !dash || !end || !space || name == "" || strings.ContainsAny(name, "+") || err != nil || len(b) <= keyID {
		return ""
	}
	return name + "+" + string(b[:keyID])
}
