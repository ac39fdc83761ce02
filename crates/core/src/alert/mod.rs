//! Alerts: what of tenants and of the host needs a person, and when whom to tell.
//!
//! ```text
//! TenantStatus ──of──▶ Judgement ──Outbox::observe──▶ groups ──Outbox::tick──▶ Message
//! ```
//!
//! An [`Alert`] is derived from conditions alone, so a lost event loses no
//! alert. An [`Outbox`] groups alerts by reason into [`Message`]s, leaves out
//! what was said, limits the rate and keeps what is not delivered yet. It has
//! no clock: the time is passed in. What must not live here: sinks and files.

mod drift;
mod host;
mod outbox;
mod render;
mod template;

pub use drift::{corrected, is_correction};
pub use host::{HostProblems, HostReason};
pub use outbox::{MAX_QUEUE, Outbox, Pace};
pub use render::{Mail, alertmanager, mail, slack, text, webhook};
pub use template::Template;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{ConditionStatus, TenantStatus};
use crate::certificate;
use crate::disk::NEARLY_FULL;
use crate::types::TenantName;

/// Conditions that a person is told of while they are `True`.
const STALLED: &str = "Stalled";
const DRIFTED: &str = "Drifted";
/// The condition that says, while it holds still, that it will not for long.
const DISK: &str = "DiskWithinLimit";

/// Whom an alert is about: a tenant, or with `None` the host itself.
pub type Subject = Option<TenantName>;

/// Something that needs a person. It is the same alert while subject, reason
/// and revision are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// The tenant; `null` for what is about the host itself.
    pub tenant: Subject,
    /// The reason, a CamelCase word: alerts with the same one are one message.
    pub reason: String,
    /// The generation of the spec that it was seen with; 0 for the host's.
    pub revision: u64,
    /// The condition that it is from; of the host's, what is not as it should be.
    pub condition: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

impl Alert {
    /// Whether both are about the same.
    #[must_use]
    pub fn is_same(&self, other: &Alert) -> bool {
        (&self.tenant, &self.reason, self.revision)
            == (&other.tenant, &other.reason, other.revision)
    }
}

/// What is known of one subject's alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What needs a person now.
    pub firing: Vec<Alert>,
    /// Whether nothing is known of the services just now, or the operator is
    /// trying again: then an earlier alert about them stands. It is over when
    /// the tenant is ready, not when it is tried again.
    pub undecided: bool,
}

/// What is known of all alerts; a subject that is not here is gone.
pub type Judgements = BTreeMap<Subject, Judgement>;

/// What a tenant's status says of its alerts; without a status, nothing is
/// known. `now` stands in for times that cannot be read.
#[must_use]
pub fn of(tenant: &TenantName, status: Option<&TenantStatus>, now: Timestamp) -> Judgement {
    let Some(status) = status else {
        return Judgement {
            firing: Vec::new(),
            undecided: true,
        };
    };
    let holds = |kind: &str| {
        status
            .condition(kind)
            .filter(|condition| condition.status == ConditionStatus::True)
    };
    let mut firing = Vec::new();
    if let Some(stalled) = holds(STALLED) {
        firing.push(Alert {
            tenant: Some(tenant.clone()),
            reason: stalled.reason.clone(),
            revision: stalled.observed_generation,
            condition: STALLED.to_owned(),
            message: stalled.message.clone(),
            since: stalled.last_transition_time.parse().unwrap_or(now),
        });
    }
    if let Some(disk) = holds(DISK).filter(|disk| disk.reason == NEARLY_FULL) {
        firing.push(Alert {
            tenant: Some(tenant.clone()),
            reason: NEARLY_FULL.to_owned(),
            revision: disk.observed_generation,
            condition: DISK.to_owned(),
            message: disk.message.clone(),
            since: disk.last_transition_time.parse().unwrap_or(now),
        });
    }
    if let Some(drifted) = holds(DRIFTED) {
        firing.extend(drift::of(tenant, status, drifted, now));
    }
    let certificate = status.condition(certificate::CONDITION);
    if let Some(bad) = certificate.filter(|c| certificate::ALERTS.contains(&c.reason.as_str()))
        // A site that waits for it has the tenant stalled.
        && firing.iter().all(|alert| alert.reason != bad.reason)
    {
        firing.push(Alert {
            tenant: Some(tenant.clone()),
            reason: bad.reason.clone(),
            revision: bad.observed_generation,
            condition: certificate::CONDITION.to_owned(),
            message: bad.message.clone(),
            since: bad.last_transition_time.parse().unwrap_or(now),
        });
    }
    Judgement {
        firing,
        undecided: holds("Reconciling").is_some(),
    }
}

/// Whether something is wrong or no longer so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is wrong.
    Firing,
    /// It was wrong.
    Resolved,
}

/// What a sink is told: everything with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The same whenever this message is sent again, and never that of another.
    pub id: String,
    /// The host's name.
    pub host: String,
    /// The reason that all have in common.
    pub reason: String,
    /// Resolved if nothing is left.
    pub status: State,
    /// What it is wrong with now.
    pub firing: Vec<Alert>,
    /// What it was wrong with when the last message was written.
    pub resolved: Vec<Alert>,
    /// When the message was written.
    pub created: Timestamp,
}

impl Message {
    /// The reason of messages that only try a sink out.
    pub const TEST: &str = "Test";

    /// A message that tries a sink out.
    #[must_use]
    pub fn test(host: &str, now: Timestamp) -> Self {
        let alert = Alert {
            tenant: Some("test".parse().expect("a valid constant")),
            reason: Self::TEST.to_owned(),
            revision: 0,
            condition: Self::TEST.to_owned(),
            message: "this is a test by `cbctl alerts test`; nothing is wrong".to_owned(),
            since: now,
        };
        Self {
            id: format!("test-{host}-{}", now.as_millisecond()),
            host: host.to_owned(),
            reason: Self::TEST.to_owned(),
            status: State::Firing,
            firing: vec![alert],
            resolved: Vec::new(),
            created: now,
        }
    }
}

#[cfg(test)]
mod tests;
