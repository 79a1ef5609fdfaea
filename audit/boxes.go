package audit

import (
	"database/sql/driver"
	"net/netip"
	"unsafe"
)

// boxes holds what the arguments of one statement point to. Go puts a number or a text into memory of its own when it
// becomes an interface, some ten times a record; here they have their places already, which are written anew for the next
// statement. The driver copies what it is given before it returns. A nil *boxes makes values as Go does.
type boxes struct {
	numbers [maxArguments]int64
	texts   [maxArguments]string
	used    int // of both
	octets  []byte
	addr    [16]byte // octets
}

// maxArguments is as many as a statement has at most: the one that inserts placesAtOnce places.
const maxArguments = 2 * placesAtOnce

// reset lets the boxes be used again.
func (b *boxes) reset() {
	if b != nil {
		b.used = 0
	}
}

// box returns the T at p as an interface value.
func box[T any](p *T) (v driver.Value) {
	v = *new(T)                                                     // a zero value takes up no memory
	(*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1] = unsafe.Pointer(p) // an interface is a type and a pointer
	return v
}

// number returns n as a value.
func (b *boxes) number(n int64) driver.Value {
	if b == nil || uint64(n) < 256 { // Go has those in a table
		return n
	}
	p := &b.numbers[b.used]
	b.used++
	*p = n
	return box(p)
}

// text returns s as a value.
func (b *boxes) text(s string) driver.Value {
	if b == nil || s == "" {
		return s
	}
	p := &b.texts[b.used]
	b.used++
	*p = s
	return box(p)
}

// ip keeps 4 octets of an IPv4 address, however it was written, and 16 of an IPv6 address without its zone; nil if there
// is none.
func (b *boxes) ip(peer netip.AddrPort) driver.Value {
	if !peer.IsValid() {
		return nil
	}
	addr := peer.Addr().Unmap().WithZone("")
	if b == nil {
		return addr.AsSlice()
	}
	b.octets, _ = addr.AppendBinary(b.addr[:0]) // never fails
	return box(&b.octets)
}
