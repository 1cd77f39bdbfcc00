-- The tables of an Invenio repository that hold records, vocabularies and persistent identifiers, under Invenio's own names.
-- Keys and indexes follow in finish.sql, when the rows are there: one sort is cheaper than many insertions.

CREATE TABLE vocabularies_types (
    id varchar(255) NOT NULL,
    pid_type varchar(255)
);

CREATE TABLE vocabularies_metadata (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id uuid NOT NULL,
    json jsonb,
    version_id integer NOT NULL
);

CREATE TABLE rdm_records_metadata (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id uuid NOT NULL,
    json jsonb,
    version_id integer NOT NULL,
    index integer
);

CREATE TABLE pidstore_pid (
    created timestamptz NOT NULL,
    updated timestamptz NOT NULL,
    id integer NOT NULL,
    pid_type varchar(6) NOT NULL,
    pid_value varchar(255) NOT NULL,
    pid_provider varchar(8),
    status char(1) NOT NULL,
    object_type varchar(3),
    object_uuid uuid
);
