package anchor

import (
	"context"

	"postern/audit"
)

// webhook posts each signed note as plain text. Any status from 200 to 299 says that it is kept.
type webhook struct {
	url    string
	client *client
}

func (w *webhook) carry(ctx context.Context, c audit.Checkpoint) error {
	status, header, body, err := w.client.post(ctx, w.url, c.Note)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return unwelcome(status, header, body)
	}
	return nil
}
