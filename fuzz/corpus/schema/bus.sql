CREATE TABLE beam_messages (
  id TEXT PRIMARY KEY,
  nonce TEXT,
  sender TEXT NOT NULL,
  recipient TEXT NOT NULL,
  intent TEXT NOT NULL,
  payload TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL DEFAULT 'received',
  priority INTEGER DEFAULT 0,
  retry_count INTEGER DEFAULT 0,
  max_retries INTEGER DEFAULT 5,
  next_retry_at REAL,
  created_at REAL NOT NULL,
  delivered_at REAL,
  acked_at REAL,
  failed_at REAL,
  error TEXT,
  response TEXT,
  trace_id TEXT,
  metadata TEXT
);
CREATE INDEX idx_beam_created ON beam_messages (created_at);
CREATE INDEX idx_beam_next_retry ON beam_messages (status, next_retry_at);
CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce);
CREATE INDEX idx_beam_recipient_status ON beam_messages (recipient, status);
CREATE INDEX idx_beam_sender ON beam_messages (sender);