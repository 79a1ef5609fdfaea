package audit

import (
	"net/netip"
	"time"

	"postern/proxy"
)

// State says how far a session got.
type State string

// The states of a session.
const (
	StateConnected  State = "connected"  // no login yet
	StateAuthorized State = "authorized" // logged in
	StateEnded      State = "ended"
)

// Session is what is known of one session: a row derived from its records. Of a live session the counts
// may be up to a second old.
type Session struct {
	ID    proxy.SessionID `json:"id"`
	Start time.Time       `json:"start"`        // UTC
	End   time.Time       `json:"end,omitzero"` // zero while it lives
	State State           `json:"state"`

	Peer       netip.AddrPort `json:"peer,omitzero"`
	Listener   string         `json:"listener,omitzero"`
	Backend    string         `json:"backend,omitzero"`
	Greeting   string         `json:"greeting,omitzero"` // the backend's
	TLS        *TLS           `json:"tls,omitzero"`
	BackendTLS *TLS           `json:"backend_tls,omitzero"`

	User         string `json:"user,omitzero"`      // logged in, or last claimed
	Mechanism    string `json:"mechanism,omitzero"` // of that login
	Login        string `json:"login,omitzero"`     // proxy.LoginOK, proxy.LoginFailed, or "" without an attempt
	LoginsFailed int64  `json:"logins_failed"`

	Commands   int64 `json:"commands"`
	Opened     int64 `json:"opened"`      // commands for mail that were forwarded, of which a part may have been disclosed
	Retrieved  int64 `json:"retrieved"`   // RETR answered completely
	Deleted    int64 `json:"deleted"`     // deletes committed
	RolledBack int64 `json:"rolled_back"` // deletes undone by RSET or by the end
	Unknown    int64 `json:"unknown"`     // deletes of which the backend's verdict was not seen
	Anomalies  int64 `json:"anomalies"`
	Octets     int64 `json:"octets"`   // of multi-line bodies relayed
	Received   int64 `json:"received"` // from the client; known at the end
	Sent       int64 `json:"sent"`     // to the client; known at the end

	EndSide   string `json:"end_side,omitzero"`
	EndReason string `json:"end_reason,omitzero"`
	Partial   bool   `json:"partial,omitzero"` // some of its records were lost while the log was failing
}

// SessionQuery chooses sessions, newest first. Zero fields choose all.
type SessionQuery struct {
	User   string
	Addr   netip.Prefix    // an address, or all of a network
	Live   bool            // only those not ended
	Since  time.Time       // started at or after
	Before proxy.SessionID // the cursor: sessions older than this one
	Limit  int             // default 100, at most MaxSessions
}

// MaxSessions bounds one answer of Reader.Sessions.
const MaxSessions = 1000

// Snapshot is one consistent view: what was so when LastSeq was the newest record.
type Snapshot struct {
	LastSeq   int64     `json:"last_seq"`
	Live      []Session `json:"live"` // newest first, at most MaxLive
	LiveCount int64     `json:"live_count"`
	Totals    Totals    `json:"totals"`
}

// MaxLive bounds Snapshot.Live.
const MaxLive = 2000

// Totals are sums over sessions.
type Totals struct {
	Sessions     int64 `json:"sessions"`
	LoginsOK     int64 `json:"logins_ok"`
	LoginsFailed int64 `json:"logins_failed"`
	Commands     int64 `json:"commands"`
	Retrieved    int64 `json:"retrieved"`
	Deleted      int64 `json:"deleted"`
	Sent         int64 `json:"sent"`
	Received     int64 `json:"received"`
	Anomalies    int64 `json:"anomalies"`
}
