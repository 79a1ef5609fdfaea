package anchor

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"postern/audit"
)

// mostQuestions bounds the requests of one attempt: one that tells what the witness has seen last, one that goes on from
// there, and one more if somebody else was quicker.
const mostQuestions = 3

// witness has each checkpoint cosigned (C2SP tlog-witness, add-checkpoint), and the log keep the cosignature.
type witness struct {
	url    string
	key    *audit.Witness
	log    *audit.Log
	client *client
	seen   int64 // the size that the witness cosigned last, as far as is known; 0 for none
}

func newWitness(w Witness, log *audit.Log, c *client) *witness {
	return &witness{url: strings.TrimSuffix(w.URL, "/") + "/add-checkpoint", key: w.Key, log: log, client: c}
}

func (w *witness) carry(ctx context.Context, c audit.Checkpoint) error {
	for range mostQuestions {
		again, err := w.ask(ctx, c)
		if !again || err != nil {
			return err
		}
	}
	return errors.New("it changes its mind of how many records it has seen")
}

// ask sends c with the proof that it continues what the witness has seen. It returns true when the witness has seen
// something else, which seen then tells.
func (w *witness) ask(ctx context.Context, c audit.Checkpoint) (again bool, err error) {
	request, err := w.request(ctx, c)
	if err != nil {
		return false, err
	}
	status, header, body, err := w.client.post(ctx, w.url, request)
	if err != nil {
		return false, err
	}
	switch status {
	case http.StatusOK:
		return false, w.keep(ctx, c, body)
	case http.StatusConflict:
		return w.conflict(c, body)
	case http.StatusUnprocessableEntity:
		return false, refusal{fmt.Errorf("the first %d of our %d records are not those that it cosigned: %w", w.seen, c.Size,
			unwelcome(status, header, body))}
	case http.StatusNotFound, http.StatusForbidden:
		return false, w.stranger(ctx, c, unwelcome(status, header, body))
	}
	return false, unwelcome(status, header, body)
}

// request returns the body of a request: the old size, the proof, and the checkpoint.
func (w *witness) request(ctx context.Context, c audit.Checkpoint) (string, error) {
	if w.seen > c.Size {
		w.seen = 0 // what it is, the witness will tell
	}
	path, err := w.log.Reader().Consistency(ctx, w.seen, c)
	switch {
	case errors.Is(err, audit.ErrAltered):
		return "", refusal{err}
	case errors.Is(err, audit.ErrNoHash):
		return "", refusal{fmt.Errorf("it cosigned %d records last, and retention has left too little to prove that they are ours: "+
			"its operator must let it begin anew: %w", w.seen, err)}
	case err != nil:
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", w.seen)
	for _, h := range path {
		fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteString("\n" + c.Note)
	return b.String(), nil
}

// keep verifies a cosignature and has the log keep it.
func (w *witness) keep(ctx context.Context, c audit.Checkpoint, answer string) error {
	line, _, err := w.key.Cosignature(c, answer)
	if err != nil {
		return fmt.Errorf("its answer is not signed with the key that it was given: compare it with the witness's own page: %w", err)
	}
	w.seen = c.Size
	return w.log.Cosign(ctx, c.Size, line)
}

// conflict takes in that the witness has seen another number of records than it was told.
func (w *witness) conflict(c audit.Checkpoint, answer string) (again bool, err error) {
	text, _ := strings.CutSuffix(answer, "\n")
	size, err := strconv.ParseInt(text, 10, 64)
	if err != nil || size < 0 || text != strconv.FormatInt(size, 10) {
		return false, fmt.Errorf("it answered 409 without a size: %s", quoted(answer))
	}
	newest, _ := w.log.Newest()
	switch {
	case size > newest.Size:
		return false, refusal{fmt.Errorf("it cosigned %d records of this log, which has %d: the log was rolled back", size, newest.Size)}
	case size > c.Size:
		return false, fmt.Errorf("it has cosigned a newer checkpoint already, of %d records", size)
	case size == w.seen && size == c.Size:
		return false, refusal{fmt.Errorf("it cosigned %d records of this log, and they are others than ours", size)}
	case size == w.seen:
		return false, fmt.Errorf("it answered 409 to the size that it wants, %d", size)
	}
	w.seen = size
	return true, nil
}

// stranger adds to the error of a witness that does not know this log what its operator needs.
func (w *witness) stranger(ctx context.Context, c audit.Checkpoint, err error) error {
	key, e := w.log.Reader().Verifier(ctx)
	if e != nil {
		key = "which the newest start record has in arg"
	}
	return fmt.Errorf("%w: ask its operator to add the log %s with the key %s", err, c.Origin(), key)
}
