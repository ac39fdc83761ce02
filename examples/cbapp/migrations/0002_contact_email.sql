-- Contacts can be written to.
ALTER TABLE contacts ADD COLUMN email VARCHAR;
