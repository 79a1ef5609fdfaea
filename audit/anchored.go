package audit

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxAnchors bounds the checkpoints from elsewhere that are compared: of more, the largest.
const maxAnchors = 1 << 20

// anchor is a signed head of the tree that was kept outside the database.
type anchor struct {
	from string // the file
	line int    // where in it; 0 is the file as a whole
	size int64
	root hash
	note string // "" if its signature was checked already
}

func (a *anchor) String() string {
	if a.line == 0 {
		return a.from
	}
	return fmt.Sprintf("%s line %d", a.from, a.line)
}

// anchors are kept in the order of their sizes.
type anchors struct {
	all    []anchor
	spoilt int64 // notes that are not whole: a full disk cut them off
}

func (a *anchors) add(one anchor) {
	a.all = append(a.all, one)
	if len(a.all) >= 2*maxAnchors {
		a.sort()
	}
}

func (a *anchors) sort() {
	slices.SortStableFunc(a.all, func(x, y anchor) int { return cmp.Compare(x.size, y.size) })
	a.all = a.all[max(0, len(a.all)-maxAnchors):]
}

// between returns those of the sizes first to last.
func (a *anchors) between(first, last int64) (found []*anchor) {
	i, _ := slices.BinarySearchFunc(a.all, first, func(one anchor, size int64) int { return cmp.Compare(one.size, size) })
	for ; i < len(a.all) && a.all[i].size <= last; i++ {
		found = append(found, &a.all[i])
	}
	return found
}

// maxNote bounds one signed note, with many cosignatures.
const maxNote = 64 << 10

// read takes up every checkpoint of the log called origin from a file in which signed notes stand one behind the
// other, whatever is between them.
func (a *anchors) read(path, origin string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxNote)
	var note strings.Builder
	begun, line := 0, 0
	finish := func() {
		c, err := parseCheckpoint(note.String(), origin)
		switch {
		case begun == 0:
		case err != nil || !isStrict(note.String()):
			a.spoilt++
		default:
			a.add(anchor{from: path, line: begun, size: c.Size, root: c.Root, note: c.Note})
		}
		note.Reset()
		begun = 0
	}
	for lines.Scan() {
		line++
		text := lines.Text()
		inside := begun > 0 && text != origin && (line < begun+4 || strings.HasPrefix(text, signatureMark))
		if !inside {
			if finish(); text != origin {
				continue
			}
			begun = line
		}
		if note.Len() > maxNote {
			return fmt.Errorf("%s line %d: this note does not end", path, begun)
		}
		note.WriteString(text + "\n")
	}
	finish()
	return lines.Err()
}

// signatureMark begins each signature line of a note (C2SP signed-note).
const signatureMark = "— "

// readAnchors reads the files that were named, and finds what the log is behind of, which may have grown since it was looked at
// first.
func (v *verifier) readAnchors(ctx context.Context) error {
	for _, path := range v.opts.Anchors {
		before := len(v.outside.all)
		if err := v.outside.read(path, v.origin); err != nil {
			return fmt.Errorf("read anchors: %w", err)
		}
		if len(v.outside.all) == before {
			v.note("%s has no checkpoint of this log", path)
		}
	}
	if v.outside.spoilt > 0 {
		v.note("%d checkpoints from elsewhere are not whole, and were passed over", v.outside.spoilt)
	}
	v.outside.sort()
	newest, err := v.reader.LastSeq(ctx)
	if err != nil {
		return err
	}
	for _, a := range slices.Backward(v.outside.between(newest+1, 1<<62)) {
		f := Finding{Table: "records", Key: seqKey(v.last+1, a.size), What: wasRolled, at: v.last + 1, Detail: fmt.Sprintf(
			"the log had %d records when %s was written: it is an older copy, or its end was cut off", a.size, a)}
		if a.note == "" || v.signedByOurs(a.note) {
			v.findings.add(f)
			return nil
		}
	}
	return nil
}

// signedByOurs tells whether a key of this log signed a note about records that are not there.
func (v *verifier) signedByOurs(text string) bool {
	for _, key := range v.allKeys() {
		if signedBy(text, []string{key}) == nil {
			return true
		}
	}
	return false
}

// allKeys returns the verifier keys that the log names or was said to have.
func (v *verifier) allKeys() (keys []string) {
	keys = append(keys, v.opts.Keys...)
	if v.known != nil {
		keys = append(keys, v.known.Keys...)
	}
	keys = append(keys, v.keys.all...)
	if key, err := meta(context.Background(), v.reader.db, metaKey); err == nil {
		keys = append(keys, key)
	}
	return append(keys, v.keys.current)
}

// holdAnchor compares a head from elsewhere with the records.
func (v *verifier) holdAnchor(h *head) {
	if h.anchor.note != "" {
		v.verdict.Anchors++
	}
	if !h.known {
		return // in a block that retention deleted as a whole; those around it were compared
	}
	signed := signedNote{text: h.anchor.note, any: true, wrong: Finding{Table: h.anchor.from, Key: fmt.Sprintf("line %d", h.anchor.line),
		What: wasAltered, at: h.size}}
	for _, key := range []string{v.keys.current, v.keys.before} {
		if key != "" {
			signed.keys = append(signed.keys, key)
		}
	}
	ours := h.anchor.note == "" || h.size <= v.since // checked when it was read, or by an earlier verification
	v.roots.compare(h.size, &h.part, h.anchor.root, func() bool { return ours || signed.check() == nil })
	if !ours {
		v.keys.jobs <- signed
	}
}

// limited bounds what is read of a file that holds one note.
func limited(f io.Reader) io.Reader { return io.LimitReader(f, 2*maxNote) }

// NewestAnchor returns for how many records the newest checkpoint of the log called origin vouches that is kept in a file,
// 0 if there is none. It does not look at signatures.
func NewestAnchor(path, origin string) (int64, error) {
	var a anchors
	if err := a.read(path, origin); err != nil {
		return 0, fmt.Errorf("read anchors: %w", err)
	}
	a.sort()
	if len(a.all) == 0 {
		return 0, nil
	}
	return a.all[len(a.all)-1].size, nil
}
