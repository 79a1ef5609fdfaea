-- What happened, one row an event, append-only. Zero or empty is "does not apply".
CREATE TABLE records (
  seq       INTEGER PRIMARY KEY, -- from 1, without holes
  session   INTEGER NOT NULL,    -- 0: outside any session
  time      INTEGER NOT NULL,    -- Unix nanoseconds
  kind      TEXT    NOT NULL,
  verb      TEXT    NOT NULL,
  arg       TEXT    NOT NULL,    -- redacted
  status    TEXT    NOT NULL,
  code      TEXT    NOT NULL,
  text      TEXT    NOT NULL,
  local     INTEGER NOT NULL,
  partial   INTEGER NOT NULL,
  message   INTEGER NOT NULL,
  uid       TEXT    NOT NULL,
  octets    INTEGER NOT NULL,
  lines     INTEGER NOT NULL,
  duration  INTEGER NOT NULL,    -- nanoseconds
  user      TEXT    NOT NULL,
  mechanism TEXT    NOT NULL,
  login     TEXT    NOT NULL,
  side      TEXT    NOT NULL,
  detail    TEXT    NOT NULL,
  count     INTEGER NOT NULL,
  ip        BLOB,                -- the client's address, 4 or 16 octets, so that a network is a range
  port      INTEGER NOT NULL,
  listener  TEXT    NOT NULL,
  backend   TEXT    NOT NULL,
  tls       TEXT,                -- JSON
  received  INTEGER NOT NULL,
  sent      INTEGER NOT NULL
) STRICT;

CREATE INDEX records_session ON records(session, seq) WHERE session <> 0;

-- What the records of a session add up to. Derived: it can be made again from the records.
CREATE TABLE sessions (
  id            INTEGER PRIMARY KEY,
  started       INTEGER NOT NULL, -- Unix nanoseconds
  ended         INTEGER NOT NULL, -- 0 while it lives
  state         TEXT    NOT NULL,
  ip            BLOB,
  port          INTEGER NOT NULL,
  listener      TEXT    NOT NULL,
  backend       TEXT    NOT NULL,
  greeting      TEXT    NOT NULL,
  tls           TEXT,             -- JSON
  user          TEXT    NOT NULL,
  mechanism     TEXT    NOT NULL,
  login         TEXT    NOT NULL,
  logins_failed INTEGER NOT NULL,
  commands      INTEGER NOT NULL,
  opened        INTEGER NOT NULL,
  retrieved     INTEGER NOT NULL,
  deleted       INTEGER NOT NULL,
  rolled_back   INTEGER NOT NULL,
  unknown       INTEGER NOT NULL,
  anomalies     INTEGER NOT NULL,
  octets        INTEGER NOT NULL,
  received      INTEGER NOT NULL,
  sent          INTEGER NOT NULL,
  end_side      TEXT    NOT NULL,
  end_reason    TEXT    NOT NULL,
  partial       INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_started ON sessions(started);
CREATE INDEX sessions_user ON sessions(user, id) WHERE user <> '';
CREATE INDEX sessions_live ON sessions(id) WHERE ended = 0;
