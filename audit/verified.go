package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// VerifiedPath returns where the last verified checkpoint of the log at path is kept.
func VerifiedPath(path string) string { return strings.TrimSuffix(path, ".db") + ".verified" }

// verified is what a good verification leaves behind, for the next one to go on from and to hold the log against. It
// is no more secret than the log, and no better kept: who can write one can write the other. An anchor elsewhere
// can do what this file cannot.
type verified struct {
	Checkpoint string    `json:"checkpoint"` // as signed
	FirstKey   string    `json:"first_key"`  // the verifier key that the log was begun with
	Keys       []string  `json:"keys"`       // the newest since then, or since one was lost; the last is that of Checkpoint
	Time       time.Time `json:"time"`

	parsed Checkpoint
}

// maxKeys bounds the keys that are kept. With the largest note they must be within what limited lets be read.
const maxKeys = 400

var errVerified = errors.New("this is no verified checkpoint: if the disk did that, postern verify --full makes a new one")

// readVerified reads the file at path, nil if there is none.
func readVerified(path string) (*verified, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := new(verified)
	if err := json.NewDecoder(limited(f)).Decode(v); err != nil {
		return nil, errVerified
	}
	origin, _, _ := bytes.Cut([]byte(v.Checkpoint), []byte("\n"))
	if v.parsed, err = parseCheckpoint(v.Checkpoint, string(origin)); err != nil {
		return nil, errVerified
	}
	if len(v.Keys) == 0 {
		return nil, errVerified
	}
	if err := signedBy(v.Checkpoint, []string{v.key()}); err != nil {
		return nil, fmt.Errorf("%w (%w)", errVerified, err)
	}
	return v, nil
}

// key is the one that signed the checkpoint.
func (v *verified) key() string { return v.Keys[len(v.Keys)-1] }

// write keeps v beside the log at path. It is there as a whole or not at all, and who owns the log can read it, also if root
// has verified it.
func (v *verified) write(path string) error {
	v.Keys = v.Keys[max(0, len(v.Keys)-maxKeys):]
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(VerifiedPath(path), append(text, '\n'), path)
}

// replaceFile puts a file with mode 0600 in place of the one at path, for who owns the log. It is on disk when replaceFile
// returns.
func replaceFile(path string, text []byte, log string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".verified-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, yieldOwner(f, log), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(path)
}
