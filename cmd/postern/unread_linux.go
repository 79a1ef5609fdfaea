package main

import (
	"context"
	"os"
	"syscall"
	"time"
)

// whileRead returns a context that also ends when nobody reads out any more: a tail that waits for the next record would
// not find that out by writing, and "postern tail | head" would not come back. What is no pipe is not watched.
func whileRead(ctx context.Context, out any) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	f, ok := out.(*os.File)
	if !ok {
		return ctx, cancel
	}
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return ctx, cancel
	}
	// No event is asked for: that the other end is closed is told in any case.
	if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, int(f.Fd()), &syscall.EpollEvent{}); err != nil {
		_ = syscall.Close(poll) // a regular file
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		watchReader(ctx, poll)
	}()
	return ctx, func() { cancel(); <-done }
}

// watchReader returns when the other end is closed, or soon after ctx has ended.
func watchReader(ctx context.Context, poll int) {
	defer syscall.Close(poll)
	const look = 200 * time.Millisecond
	for events := make([]syscall.EpollEvent, 1); ctx.Err() == nil; {
		if n, err := syscall.EpollWait(poll, events, int(look/time.Millisecond)); n > 0 || err != nil && err != syscall.EINTR {
			return
		}
	}
}
