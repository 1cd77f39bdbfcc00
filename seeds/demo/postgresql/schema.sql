-- The tables of an Invenio repository that hold records, vocabularies and persistent identifiers, under Invenio's own names.
-- Columns that point to tables of a whole installation (parents, buckets, drafts) are left out.

CREATE TABLE vocabularies_types (
    id varchar(255) PRIMARY KEY,
    pid_type varchar(255) UNIQUE
);

CREATE TABLE vocabularies_metadata (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id uuid PRIMARY KEY,
    json jsonb,
    version_id integer NOT NULL
);

CREATE TABLE rdm_records_metadata (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id uuid PRIMARY KEY,
    json jsonb,
    version_id integer NOT NULL,
    index integer
);

CREATE TABLE pidstore_pid (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id integer PRIMARY KEY,
    pid_type varchar(6) NOT NULL,
    pid_value varchar(255) NOT NULL,
    pid_provider varchar(8),
    status char(1) NOT NULL,
    object_type varchar(3),
    object_uuid uuid,
    CONSTRAINT uidx_type_pid UNIQUE (pid_type, pid_value)
);
CREATE INDEX idx_status ON pidstore_pid (status);
CREATE INDEX idx_object ON pidstore_pid (object_type, object_uuid);
