package peers

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// What passes is whole, both ways, after a half-close too, and each octet came alone.
func TestTrickle(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type arrival struct {
		octets   []byte
		segments uint32
	}
	arrived := make(chan arrival, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			close(arrived)
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(rawTimeout))
		got, _ := io.ReadAll(conn)
		arrived <- arrival{got, segments(t, conn.(*net.TCPConn))}
		conn.Write(got)
	}()

	want := bytes.Repeat([]byte("+OK\r\n.\r\n\x00\xff"), 200)
	conn, err := net.Dial("tcp", Trickle(t, l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(rawTimeout))
	conn.Write(want)
	conn.(*net.TCPConn).CloseWrite()
	echo, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(echo, want) {
		t.Errorf("got %d octets back, %v; want %d", len(echo), err, len(want))
	}
	got := <-arrived
	if !bytes.Equal(got.octets, want) || int(got.segments) < len(want) {
		t.Errorf("%d octets arrived in %d segments, want %d in as many", len(got.octets), got.segments, len(want))
	}
	if n := segments(t, conn.(*net.TCPConn)); int(n) < len(want) {
		t.Errorf("%d octets came back in %d segments", len(echo), n)
	}
}

// segments returns how many segments with data conn has received: tcpi_data_segs_in of Linux's TCP_INFO.
func segments(t *testing.T, conn *net.TCPConn) uint32 {
	const offset = 152 // in struct tcp_info
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Error(err)
		return 0
	}
	var info [256]byte
	size := uint32(len(info))
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || errno != 0 || size < offset+4 {
		t.Errorf("TCP_INFO: %v, %v, %d octets", err, errno, size)
		return 0
	}
	return binary.NativeEndian.Uint32(info[offset:])
}
