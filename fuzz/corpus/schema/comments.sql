CREATE TABLE t(a TEXT DEFAULT 'x -- y /* z' /* c */ CHECK (a <> '''' AND length(a) > 1), -- d
 b INT GENERATED ALWAYS AS (length(a)) STORED, UNIQUE (a, b) ON CONFLICT IGNORE) STRICT, WITHOUT ROWID;