-- What volunteers write down about a contact.
CREATE SEQUENCE note_ids;

CREATE TABLE notes (
    id         BIGINT PRIMARY KEY DEFAULT nextval('note_ids'),
    contact_id BIGINT NOT NULL,
    body       VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);
