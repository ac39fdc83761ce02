-- The contacts of one campaign.
CREATE SEQUENCE contact_ids;

CREATE TABLE contacts (
    id         BIGINT PRIMARY KEY DEFAULT nextval('contact_ids'),
    name       VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
);
