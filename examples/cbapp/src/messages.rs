//! The JSON bodies that the api answers with and the frontend reads.

use serde::{Deserialize, Serialize};

/// A person the campaign knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The database's number for the contact.
    pub id: i64,
    /// The person's name.
    pub name: String,
    /// When the contact was added, in UTC, for example `2026-01-31T09:30:00Z`.
    pub created_at: String,
}

/// The body of `POST /api/contacts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// The person's name; [`crate::names::contact_name`] says what is allowed.
    pub name: String,
}

/// The answer of `GET /api/contacts/count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many contacts there are.
    pub count: i64,
}

/// A file that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The file's name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Every answer that is not a success.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, for a person.
    pub error: String,
}
