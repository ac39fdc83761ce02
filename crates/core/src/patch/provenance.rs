//! What is remembered of where an object's content came from. It is kept with
//! the operator's records and shown with the object; a manifest stays as its
//! writer wrote it.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Managed;
use crate::api::Kind;

/// Where an object's content came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Provenance {
    /// Who set which fields.
    #[serde(skip_serializing_if = "Managed::is_empty")]
    pub managed_fields: Managed,
    /// What `kubectl apply` last sent: it finds out from it what it has to
    /// take away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<String>,
}

/// What a write says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Who set what.
    pub by: Author,
    /// What is to be remembered as last applied. The outer `None` leaves what
    /// is remembered.
    pub last_applied: Option<Option<String>>,
}

/// Who set what by a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Author {
    /// Not known: what changed is the manifest's.
    #[default]
    Manifest,
    /// This manager set what changed.
    Manager(String),
    /// A server-side apply, which found this out.
    Applied(Managed),
}

impl Provenance {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.managed_fields.is_empty() && self.last_applied.is_none()
    }

    /// Takes in that the manifest was changed from one content to another.
    pub fn changed(&mut self, kind: Kind, change: (&Json, &Json)) {
        if !self.managed_fields.is_empty() {
            self.managed_fields.update(kind, change, None);
        }
    }

    /// Takes in a write, at this time (RFC 3339, UTC).
    pub fn write(&mut self, kind: Kind, change: (&Json, &Json), written: &Written, now: &str) {
        match &written.by {
            Author::Manifest => self.changed(kind, change),
            Author::Manager(name) => {
                let by = Some((name.as_str(), now));
                self.managed_fields.update(kind, change, by);
            }
            Author::Applied(managed) => self.managed_fields = managed.clone(),
        }
        if let Some(last) = &written.last_applied {
            self.last_applied.clone_from(last);
        }
    }
}
