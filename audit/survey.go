package audit

import (
	"context"
	"errors"
	"sync"
)

// survey has surveyors fill stretches of the log, a few ahead of who takes them in their order.
type survey struct {
	order chan *stretch // in the order of the log; each is good once its done is closed
	work  chan *stretch
	free  chan *stretch // for the next
	lens  []*lens
	team  sync.WaitGroup
}

// newSurvey starts workers with a connection each. Who takes the stretches gives them back to free.
func newSurvey(path string, workers int, outside *anchors) (*survey, error) {
	ahead := 2*workers + 1
	y := &survey{order: make(chan *stretch, ahead), work: make(chan *stretch, ahead), free: make(chan *stretch, ahead)}
	for range ahead {
		y.free <- new(stretch)
	}
	for range workers {
		l, err := openLens(path)
		if err != nil {
			close(y.work)
			return nil, errors.Join(err, y.wait())
		}
		y.lens = append(y.lens, l)
		surveyor := &surveyor{lens: l, anchors: outside}
		y.team.Go(func() {
			for s := range y.work {
				surveyor.survey(s)
			}
		})
	}
	return y, nil
}

// plan gives out the records from first to last, until ctx ends.
func (y *survey) plan(ctx context.Context, first, last int64) {
	defer close(y.order)
	defer close(y.work)
	for ; first <= last && ctx.Err() == nil; first += stretchSize {
		select {
		case s := <-y.free:
			s.reset(first, min(first+stretchSize-1, last))
			y.order <- s
			y.work <- s
		case <-ctx.Done():
		}
	}
}

// wait returns when all workers have ended, which they do once the plan has.
func (y *survey) wait() error {
	y.team.Wait()
	var errs []error
	for _, l := range y.lens {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}
