package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// What is queued goes out in order, whatever sizes follow each other: a piece that is large enough to be written
// directly waits for the small ones before it.
func TestQueueKeepsOrder(t *testing.T) {
	for _, size := range []int{1, outSize/2 - 1, outSize / 2, outSize/2 + 1, outSize - 5, outSize - 4, outSize, outSize + 1, largeSize} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(theirs)
				got <- b
			}()
			c := newClient(ours, time.Minute, &counters{})
			pieces := [][]byte{[]byte("+OK\r\n"), bytes.Repeat([]byte{'a'}, size), []byte("b\r\n"), []byte(".\r\n")}
			for _, p := range pieces {
				if err := c.queue(p); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.flush(); err != nil {
				t.Fatal(err)
			}
			ours.Close()
			if b, want := <-got, bytes.Join(pieces, nil); !bytes.Equal(b, want) {
				t.Errorf("got %d octets %.20q, want %d octets %.20q", len(b), b, len(want), want)
			}
		})
	}
}
