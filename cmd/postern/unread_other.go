//go:build !linux

package main

import "context"

// whileRead is ctx: here the next record that is written tells whether somebody reads.
func whileRead(ctx context.Context, _ any) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
