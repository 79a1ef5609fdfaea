-- The backend's leg, and the ledger of messages.
ALTER TABLE records ADD COLUMN backend_tls TEXT;                      -- JSON
ALTER TABLE records ADD COLUMN announced INTEGER NOT NULL DEFAULT 0;  -- octets
ALTER TABLE records ADD COLUMN mail TEXT;                             -- JSON
ALTER TABLE sessions ADD COLUMN backend_tls TEXT;
