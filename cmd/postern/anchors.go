package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"postern/audit"
	"postern/audit/anchor"
	"postern/cmd/internal/config"
	"postern/web"
)

// anchorTime bounds what is done at the end to carry the last checkpoint out.
const anchorTime = 5 * time.Second

// checkAnchors finds what is wrong with the keys of witnesses.
func checkAnchors(c *config.Config, p *config.Problems) {
	const key = "audit-anchor-witness-key"
	if len(c.AnchorWitnesses) != len(c.AnchorWitnessKeys) {
		p.Add(c.Origin(key), fmt.Sprintf("%d witnesses and %d keys", len(c.AnchorWitnesses), len(c.AnchorWitnessKeys)),
			"give each --audit-anchor-witness one --"+key+", in the same order; the witness's page tells its key")
	}
	for _, text := range c.AnchorWitnessKeys {
		if _, err := audit.ParseWitness(text); err != nil {
			p.Add(c.Origin(key), fmt.Sprintf("%.80q: %v", text, err), "copy the key whole from the witness's page")
		}
	}
}

// openAnchors starts to carry checkpoints to the places that the settings name. c passed check.
func (d *daemon) openAnchors(stdout io.Writer) error {
	c := d.config
	o := anchor.Options{Log: d.audit, Every: c.AnchorEvery, File: c.AnchorFile, Webhook: c.AnchorWebhook, Version: version(), Logger: d.log}
	if c.AnchorStdout {
		o.Stdout = stdout
	}
	for i, url := range c.AnchorWitnesses {
		key, err := audit.ParseWitness(c.AnchorWitnessKeys[i])
		if err != nil {
			return fmt.Errorf("key of the witness %s: %w", url, err)
		}
		o.Witnesses = append(o.Witnesses, anchor.Witness{URL: url, Key: key})
	}
	d.anchors = anchor.Start(o)
	return nil
}

// closeAudit ends the log. Between its last record and its end the anchors have their last turn.
func (d *daemon) closeAudit() error {
	err := d.audit.Stop()
	if d.anchors != nil {
		ctx, cancel := context.WithTimeout(context.Background(), anchorTime)
		defer cancel()
		d.anchors.Close(ctx)
	}
	if e := d.audit.Close(); err == nil {
		err = e // which tells of Stop's failure, too
	}
	return err
}

// listAnchors tells the dashboard how the anchors fare.
func (d *daemon) listAnchors() (all []web.Anchor) {
	for _, s := range d.anchors.List() {
		all = append(all, web.Anchor{Kind: s.Kind, Name: s.Name, Size: s.Size, At: s.At, LagRecords: s.LagRecords,
			LagSeconds: s.Lag.Seconds(), Errors: s.Errors, Err: s.Err, Refused: s.Refused})
	}
	return all
}

// anchorWarnings tells of an anchor that protects from little.
func anchorWarnings(c *config.Config) []string {
	if c.AnchorFile == "" || !isWithin(c.AnchorFile, c.DataDir) && !isWithin(c.AnchorFile, filepath.Dir(c.AuditPath())) {
		return nil
	}
	return []string{"The anchor file lies beside the log: whoever can rewrite the one can rewrite the other. " +
		"Name a file on another machine's disk for --audit-anchor-file, or make this one append-only (chattr +a)."}
}

// isWithin tells whether path is in the directory dir, or below it, by their names.
func isWithin(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false
	}
	rest, err := filepath.Rel(dir, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, "../")
}
