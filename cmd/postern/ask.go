package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
)

// question is what every command tells serve that asks something of the log: which log, and who asks.
type question struct {
	Log string `json:"log"` // absolute path of the database
	By  string `json:"by"`
}

// reply is a serve's answer to a question about its log.
type reply[T any] struct {
	Elsewhere bool `json:"elsewhere,omitzero"` // it writes another log
	Answer    T    `json:"answer"`
}

// errNobody tells that no serve writes the log: who asks does it alone.
var errNobody = errors.New("no serve writes this log")

// aboutLog makes the question of whoever runs this command.
func aboutLog(c *config.Config) (q question, err error) {
	if q.Log, err = filepath.Abs(c.AuditPath()); err != nil {
		return q, fmt.Errorf("find the audit log: %w", err)
	}
	name, as := operator()
	if q.By = name; as != "" {
		q.By = name + " as " + as
	}
	return q, nil
}

// askServe asks the serve that writes the log. It returns errNobody if there is none.
func askServe[T any](ctx context.Context, c *config.Config, path string, log string, in any) (answer T, err error) {
	for _, dir := range slices.Compact([]string{c.DataDir, filepath.Dir(log)}) {
		var r reply[T]
		err := control.Client(dir).Call(ctx, "POST", path, in, &r)
		switch {
		case errors.Is(err, control.ErrNotRunning), err == nil && r.Elsewhere:
		case err != nil:
			return answer, err
		default:
			return r.Answer, nil
		}
	}
	return answer, errNobody
}

// answerAbout makes a handler's function of do, for questions about this daemon's log only.
func answerAbout[In asker, T any](d *daemon, do func(context.Context, In) (T, error)) func(context.Context, In) (reply[T], error) {
	return func(ctx context.Context, in In) (r reply[T], err error) {
		if !sameFile(in.about(), d.config.AuditPath()) {
			r.Elsewhere = true
			return r, nil
		}
		r.Answer, err = do(ctx, in)
		return r, err
	}
}

// asker is a question, or what has one in it.
type asker interface{ about() string }

func (q question) about() string { return q.Log }
