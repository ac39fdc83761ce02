//! Events: what happened to an object, for people, in the shape of
//! `events.k8s.io/v1`.
//!
//! An [`Event`] is one occurrence; [`Journal`] counts those with the same words
//! as one [`Series`] and keeps a bounded number. Status says how things are,
//! events how they came to be so; nothing is decided from an event.

mod journal;
mod reason;

pub use journal::{Added, Journal};
pub use reason::{EventType, Reason, reference};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::Kind;
use crate::digest;
use crate::types::TenantName;

/// The longest note in bytes, as in Kubernetes.
const MAX_NOTE: usize = 1024;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Regarding {
    /// The object's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    pub regarding: Regarding,
    /// Why it happened.
    pub reason: Reason,
    /// What happened, for a person. Never a secret (law 11), and the same words
    /// for the same thing: what differs each time would not be counted.
    pub note: String,
}

impl Event {
    /// An event of a tenant.
    #[must_use]
    pub fn tenant(name: &TenantName, reason: Reason, note: impl Into<String>) -> Self {
        Self::new(Kind::Tenant, name.as_str(), reason, note)
    }

    /// An event of the object of this kind and name.
    #[must_use]
    pub fn new(kind: Kind, name: &str, reason: Reason, note: impl Into<String>) -> Self {
        let mut note: String = note.into();
        if note.len() > MAX_NOTE {
            note.truncate(note.floor_char_boundary(MAX_NOTE - '…'.len_utf8()));
            note.push('…');
        }
        let name = name.to_owned();
        Self {
            regarding: Regarding { kind, name },
            reason,
            note,
        }
    }
}

/// An event that happened one or more times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// How often.
    pub count: u64,
    /// When it happened first.
    pub first_seen: Timestamp,
    /// When it happened last.
    pub last_seen: Timestamp,
}

impl Series {
    /// The object's name in the API: that of what it is about, and a hash.
    #[must_use]
    pub fn name(&self) -> String {
        let Event {
            regarding,
            reason,
            note,
        } = &self.event;
        let parts = [
            regarding.kind.as_str(),
            &regarding.name,
            reason.as_str(),
            note,
            // One that comes back after it was dropped is another object.
            &self.first_seen.to_string(),
        ];
        let hash = digest::of_parts(parts.map(str::as_bytes));
        format!("{}.{}", regarding.name, &hash[..16])
    }
}

#[cfg(test)]
mod tests;
