-- What is made when the rows are there: keys, indexes, and the sequence that goes on behind them.

ALTER TABLE vocabularies_types ADD PRIMARY KEY (id), ADD UNIQUE (pid_type);
ALTER TABLE vocabularies_metadata ADD PRIMARY KEY (id);
ALTER TABLE rdm_records_metadata ADD PRIMARY KEY (id);
ALTER TABLE pidstore_pid ADD PRIMARY KEY (id);
ALTER TABLE pidstore_pid ADD CONSTRAINT uidx_type_pid UNIQUE (pid_type, pid_value);
CREATE INDEX idx_status ON pidstore_pid (status);
CREATE INDEX idx_object ON pidstore_pid (object_type, object_uuid);

CREATE SEQUENCE pidstore_pid_id_seq OWNED BY pidstore_pid.id;
SELECT setval('pidstore_pid_id_seq', (SELECT max(id) FROM pidstore_pid));
ALTER TABLE pidstore_pid ALTER COLUMN id SET DEFAULT nextval('pidstore_pid_id_seq');
