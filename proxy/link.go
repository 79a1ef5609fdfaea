package proxy

import (
	"hash/maphash"
	"net/netip"
)

// link names a connection by a hash of both its ends, which takes an eighth of the room. One end is not enough to know a
// connection by: the kernel gives the same port to connections that go to different places. 0 is no internet connection.
type link uint64

// linkOf names a connection by where it was dialled from and where it was accepted.
func (s *Server) linkOf(dialled, accepted netip.AddrPort) link {
	if !dialled.IsValid() {
		return 0
	}
	return link(maphash.Comparable(s.seed, [2]netip.AddrPort{dialled, accepted}))
}

// addOurs notes a backend connection, by which a loop is known: it reports whether one of the sessions is its other
// end. A session that is accepted later finds it with isOurs.
func (s *Server) addOurs(l link) (loop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ours[l] = struct{}{}
	_, loop = s.peers[l]
	return loop
}

func (s *Server) removeOurs(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ours, l)
}

func (s *Server) isOurs(l link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ours := s.ours[l]
	return ours && l != 0
}
