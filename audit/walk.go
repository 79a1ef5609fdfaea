package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/proxy"
)

// walk looks at all records. Workers read and hash stretches of the log, this goroutine takes them in order.
func (v *verifier) walk(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, err := newSurvey(v.opts.Path, v.opts.Workers, &v.outside)
	if err != nil {
		return err
	}
	v.keys.start(v.opts.Workers)
	work.team.Go(func() { work.plan(ctx, v.from+1, v.last) })
	swept := v.sweep(ctx)
	err = v.take(ctx, work)
	if err != nil {
		cancel()
	}
	err = errors.Join(err, swept())
	cancel()
	err = errors.Join(err, work.wait())
	v.keys.wait()
	return err
}

// sweep begins to look, beside the walk, at what the walk does not lead to: rows of sessions without records, and the
// pages of the database. What it returns waits for that.
func (v *verifier) sweep(ctx context.Context) (wait func() error) {
	if !v.opts.Full {
		return func() error { return nil }
	}
	other := verifier{opts: v.opts, verdict: new(Verdict)}
	done := make(chan error, 1)
	go func() { done <- other.sweepAll(ctx) }()
	return func() error {
		err := <-done
		for _, f := range other.findings.all {
			v.findings.add(f)
		}
		v.verdict.Notes = append(v.verdict.Notes, other.verdict.Notes...)
		return err
	}
}

func (v *verifier) sweepAll(ctx context.Context) (err error) {
	if v.lens, err = openLens(v.opts.Path); err != nil {
		return err
	}
	s := sums{found: &v.findings, lens: v.lens}
	return errors.Join(s.orphans(ctx), v.checkPages(), v.lens.close())
}

func (v *verifier) take(ctx context.Context, work *survey) error {
	for s := range work.order {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.err != nil {
			return s.err
		}
		if err := v.digest(s); err != nil {
			return err
		}
		v.tell(s.last)
		work.free <- s
	}
	return ctx.Err()
}

// digest takes up what was found in one stretch, in the order of the log.
func (v *verifier) digest(s *stretch) error {
	for _, f := range s.findings {
		v.findings.add(f)
	}
	v.cover.add(s)
	v.roots.pruned = append(v.roots.pruned, s.deleted...)
	records, heads := s.records, s.heads
	for i := range s.blocks {
		b := &s.blocks[i]
		end := (b.n + 1) * blockSize
		for added := false; ; heads = heads[1:] {
			if !added && (len(heads) == 0 || heads[0].size >= end) {
				v.roots.add(b)
				added = true
			}
			if len(heads) == 0 || heads[0].size > end {
				break
			}
			n, err := v.follow(records, heads[0].size)
			if err != nil {
				return err
			}
			records = records[n:]
			v.hold(&heads[0])
		}
	}
	_, err := v.follow(records, s.last)
	return err
}

// follow takes up the records with numbers up to last, and returns how many they are.
func (v *verifier) follow(records []Record, last int64) (n int, err error) {
	for n < len(records) && records[n].Seq <= last {
		r := &records[n]
		n++
		v.clock.read(r)
		switch r.Kind {
		case proxy.KindStart, proxy.KindKey:
			if r.Seq > v.since {
				v.keys.follow(r)
			}
		case proxy.KindRetention:
			v.cover.rule(r)
		case proxy.KindHold:
			v.followHold(r.Seq, r.Verb, r.Count)
		}
		if r.Session != 0 {
			v.sums.placed++
		}
		if err := v.sums.apply(r); err != nil {
			return n, err
		}
	}
	v.verdict.Records += int64(n)
	return n, nil
}

// hold compares a signed head of the tree, from the table or from elsewhere, with the records.
func (v *verifier) hold(h *head) {
	if h.anchor != nil {
		v.holdAnchor(h)
		return
	}
	c, err := parseCheckpoint(h.note, v.origin)
	if err == nil && c.Size != h.size {
		err = fmt.Errorf("the note is about %d records", c.Size)
	}
	signers := v.keys.signers(h.size)
	if v.prior.n != 0 && h.n != v.prior.n+1 || v.prior.n == 0 && v.from == 0 && h.n != 1 {
		v.holes = append(v.holes, hole{v.prior.n, h.n, v.prior.size, h.size})
		v.holes = v.holes[max(0, len(v.holes)-maxFindings):] // older ones retention may have made
	}
	v.prior = *h
	v.verdict.Checkpoints++
	signed := signedNote{text: h.note, keys: signers, wrong: badCheckpoint(h.size)}
	if err != nil {
		signed.wrong.Detail = err.Error()
		v.findings.add(signed.wrong)
		return
	}
	fresh := h.size > v.since
	if h.known {
		v.roots.compare(h.size, &h.part, c.Root, func() bool { return !fresh || signed.check() == nil })
	}
	if fresh {
		v.keys.jobs <- signed
	}
	v.newest = *h
}

// tell reports how far the walk is, not too often.
func (v *verifier) tell(seq int64) {
	if v.opts.Report != nil && (time.Since(v.told) > 100*time.Millisecond || seq == v.last) {
		v.told = time.Now()
		v.opts.Report(Progress{Done: seq - v.from, Of: v.last - v.from})
	}
}
