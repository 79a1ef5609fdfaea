-- The backend's leg, and the ledger of messages.
ALTER TABLE records ADD COLUMN backend_tls TEXT;                      -- JSON
ALTER TABLE records ADD COLUMN announced INTEGER NOT NULL DEFAULT 0;  -- octets
ALTER TABLE records ADD COLUMN mail TEXT;                             -- JSON
ALTER TABLE records ADD COLUMN subject TEXT NOT NULL DEFAULT '';      -- of the client's certificate
ALTER TABLE records ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';  -- of the client's certificate, SHA-256 in hex
ALTER TABLE sessions ADD COLUMN backend_tls TEXT;
ALTER TABLE sessions ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';

-- What makes tampering evident (docs/audit.md): each record is a leaf of an RFC 6962 tree.
ALTER TABLE records ADD COLUMN seed BLOB;                             -- the salts of the leaf, or what is left of them
ALTER TABLE records ADD COLUMN hash BLOB;                             -- the leaf's hash

-- The records that say which key signs.
CREATE INDEX records_keys ON records(seq) WHERE kind IN ('start', 'key');

-- Roots of complete subtrees: level 1 over 256 records, level 2 over 65,536, and so on.
CREATE TABLE blocks (
  level INTEGER NOT NULL,
  n     INTEGER NOT NULL, -- from 0
  hash  BLOB    NOT NULL,
  PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

-- Leaf hashes of records that retention deleted. Where a whole block is gone its root is enough.
CREATE TABLE pruned (
  seq  INTEGER PRIMARY KEY,
  hash BLOB NOT NULL
) STRICT;

-- Records of no session by age, those that retention never deletes left out.
CREATE INDEX records_alone ON records(time)
  WHERE session = 0 AND kind NOT IN ('start', 'key', 'retention', 'hold', 'gap', 'state');

-- The legal holds in force, each by the number of the record that added it: that one tells the rest.
CREATE TABLE holds (
  record INTEGER PRIMARY KEY
) STRICT;

-- Signed tree heads (C2SP tlog-checkpoint), with the cosignatures of witnesses.
CREATE TABLE checkpoints (
  size INTEGER PRIMARY KEY,      -- the records it covers, 1 to size
  n    INTEGER NOT NULL,         -- from 1, without holes
  note TEXT    NOT NULL
) STRICT;

-- What is true of the whole log: origin, the log's own name; key, the verifier key of the signing key in force;
-- indexed, the record up to which session_records is complete.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('origin', 'postern/' || lower(hex(randomblob(16)))),
  ('indexed', (SELECT ifnull(max(seq), 0) FROM records));

-- The records of each session, in place of an index: it is written behind them, many at a time (sessionindex.go).
DROP INDEX records_session;
CREATE TABLE session_records (
  session_id INTEGER NOT NULL,
  record     INTEGER NOT NULL, -- its seq
  PRIMARY KEY (session_id, record)
) STRICT, WITHOUT ROWID;
CREATE VIEW session_log AS -- the same with the records that it has not got yet
  SELECT session_id, record FROM session_records UNION ALL
  SELECT session, seq FROM records WHERE session <> 0 AND seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'indexed');
INSERT INTO session_records SELECT session, seq FROM records WHERE session <> 0 ORDER BY session, seq;
