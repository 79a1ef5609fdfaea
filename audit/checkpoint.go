package audit

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A checkpoint is signed when this many records, or this much time, went by since the last.
const (
	signRecords = 1000
	signEvery   = time.Second
)

// Checkpoint is a signed head of the tree (C2SP tlog-checkpoint): it vouches for the records 1 to Size.
type Checkpoint struct {
	Size int64
	Root [32]byte
	Note string // as signed
}

// Newest returns the newest checkpoint, which is on disk, and a channel that is closed when there is a newer one. It does no
// I/O, and goes on to tell what was last when the log is closed.
func (l *Log) Newest() (c Checkpoint, newer <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest, l.signed
}

// signLocked takes in the newest checkpoint after a commit.
func (l *Log) signLocked(c Checkpoint) {
	if c.Size == l.newest.Size {
		return
	}
	l.newest = c
	close(l.signed)
	l.signed = make(chan struct{})
}

// Origin returns the log's name in its checkpoints.
func (c *Checkpoint) Origin() string {
	origin, _, _ := strings.Cut(c.Note, "\n")
	return origin
}

var errCheckpoint = errors.New("not a checkpoint")

// sign makes the checkpoint of a tree.
func (k *key) sign(t *tree) (Checkpoint, error) {
	c := Checkpoint{Size: t.size, Root: t.root()}
	signed, err := note.Sign(&note.Note{Text: c.text(k.signer.Name())}, k.signer)
	c.Note = string(signed)
	return c, err
}

// text returns what is signed.
func (c *Checkpoint) text(origin string) string {
	return origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// parseCheckpoint reads a checkpoint of the log called origin. It does not look at the signatures.
func parseCheckpoint(text, origin string) (c Checkpoint, err error) {
	c.Note = text
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] != origin {
		return c, errCheckpoint
	}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return c, errCheckpoint
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return c, errCheckpoint
	}
	copy(c.Root[:], root)
	if !strings.HasPrefix(text, c.text(origin)+"\n") {
		return c, errCheckpoint // another way to write the same, or extension lines, which postern never writes
	}
	return c, nil
}
