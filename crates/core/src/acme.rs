//! When certificates are ordered from an authority (ACME, RFC 8555).
//!
//! An order costs: authorities limit how many there may be, and how many may
//! fail. So what was ordered lately, and when a tenant's next try is, are kept
//! over restarts in a [`Journal`]. It has no clock: the time is passed in.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::certificate::{Facts, Issuing, renewal};
use crate::types::{DomainName, TenantName};

/// The time that [`Journal::ordered`] counts orders of.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What is known of orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Journal {
    /// When certificates were ordered, within the last hour.
    pub ordered: Vec<Timestamp>,
    /// The tenants whose last order did not come to a certificate.
    pub attempts: BTreeMap<TenantName, Attempt>,
}

/// An order that is under way, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The domains it was for.
    pub domains: Vec<DomainName>,
    /// How many orders for these domains failed in a row.
    pub failures: u32,
    /// Not to be tried again before.
    pub next: Timestamp,
    /// Why it failed; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The authority could not be asked: that costs it nothing.
    Unreachable,
    /// The authority said no, or could not see that the domains lead here.
    Refused,
}

impl Failed {
    /// How long to wait after so many failures in a row.
    #[must_use]
    pub fn pause(self, failures: u32) -> SignedDuration {
        let (first, most) = match self {
            Failed::Unreachable => (5, 600),
            Failed::Refused => (300, 86_400),
        };
        let doublings = failures.saturating_sub(1).min(20);
        SignedDuration::from_secs((first << doublings).min(most))
    }
}

impl Journal {
    /// When a certificate for these domains is due, if the tenant has the one
    /// that says `facts`. A failed order for other domains counts for nothing.
    #[must_use]
    pub fn due(
        &self,
        tenant: &TenantName,
        domains: &[DomainName],
        facts: Option<&Facts>,
    ) -> Timestamp {
        let wanted = match facts {
            Some(facts) if facts.missing(domains).is_empty() => renewal(tenant.as_str(), facts),
            _ => Timestamp::MIN,
        };
        match self.attempts.get(tenant) {
            Some(attempt) if attempt.domains == domains => wanted.max(attempt.next),
            _ => wanted,
        }
    }

    /// When the next certificate may be ordered, with so many in an hour.
    #[must_use]
    pub fn free(&self, per_hour: u16, now: Timestamp) -> Timestamp {
        let recent = self.recent(now);
        match recent.len().checked_sub(usize::from(per_hour)) {
            None => now,
            // So many of the oldest have to be an hour ago.
            Some(over) => recent[over].saturating_add(HOUR).unwrap_or(Timestamp::MAX),
        }
    }

    /// Notes that a certificate is ordered now. Until more is known, it counts
    /// as an order that was cut off.
    pub fn begin(&mut self, tenant: &TenantName, domains: &[DomainName], now: Timestamp) {
        self.ordered = self.recent(now);
        self.ordered.push(now);
        let failures = self.failures(tenant, domains);
        let next = after(now, Failed::Unreachable.pause(failures + 1));
        let attempt = Attempt {
            domains: domains.to_vec(),
            failures,
            next,
            error: None,
        };
        self.attempts.insert(tenant.clone(), attempt);
    }

    /// Notes that no certificate came of it.
    pub fn fail(
        &mut self,
        tenant: &TenantName,
        domains: &[DomainName],
        (kind, error): (Failed, String),
        now: Timestamp,
    ) {
        let failures = self.failures(tenant, domains).saturating_add(1);
        let attempt = Attempt {
            domains: domains.to_vec(),
            failures,
            next: after(now, kind.pause(failures)),
            error: Some(error),
        };
        self.attempts.insert(tenant.clone(), attempt);
    }

    /// Notes that a certificate was issued, or none is wanted. Returns whether
    /// something was known.
    pub fn forget(&mut self, tenant: &TenantName) -> bool {
        self.attempts.remove(tenant).is_some()
    }

    /// What the status says of a tenant's orders.
    #[must_use]
    pub fn issuing(&self, tenant: &TenantName) -> Issuing {
        let error = self
            .attempts
            .get(tenant)
            .and_then(|attempt| attempt.error.clone());
        error.map_or(Issuing::Quiet, Issuing::Failed)
    }

    fn failures(&self, tenant: &TenantName, domains: &[DomainName]) -> u32 {
        match self.attempts.get(tenant) {
            Some(attempt) if attempt.domains == domains => attempt.failures,
            _ => 0,
        }
    }

    /// The orders of the last hour, oldest first.
    fn recent(&self, now: Timestamp) -> Vec<Timestamp> {
        let recent = |at: &&Timestamp| now.duration_since(**at) < HOUR;
        let mut recent: Vec<_> = self.ordered.iter().filter(recent).copied().collect();
        recent.sort();
        recent
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn domains(names: &[&str]) -> Vec<DomainName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn facts(names: &[&str]) -> Facts {
        Facts {
            not_before: at(0),
            not_after: at(900),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            expired: false,
        }
    }

    #[test]
    fn a_certificate_is_due_when_it_is_missing_or_old() {
        let journal = Journal::default();
        let name = "ky04".parse().unwrap();
        let two = domains(&["a.org", "b.org"]);
        assert_eq!(journal.due(&name, &two, None), Timestamp::MIN);
        let part = facts(&["a.org"]);
        assert_eq!(journal.due(&name, &two, Some(&part)), Timestamp::MIN);
        let whole = facts(&["a.org", "b.org"]);
        let renewed = journal.due(&name, &two, Some(&whole));
        assert!((at(500)..=at(600)).contains(&renewed), "{renewed}");
    }

    /// An authority is not asked again and again for what it refuses, over
    /// restarts too; a person who changes the domains is not kept waiting.
    #[test]
    fn what_failed_waits_longer_each_time() {
        let mut journal = Journal::default();
        let name = "ky04".parse().unwrap();
        let one = domains(&["a.org"]);
        let mut waits = Vec::new();
        for _ in 0..10 {
            let refused = (Failed::Refused, "no".to_owned());
            journal.begin(&name, &one, at(0));
            journal.fail(&name, &one, refused, at(0));
            waits.push(journal.due(&name, &one, None).as_second());
        }
        assert_eq!(waits[..3], [300, 600, 1200]);
        assert_eq!(waits[9], 86_400);
        assert_eq!(journal.issuing(&name), Issuing::Failed("no".into()));
        let kept: Journal =
            serde_yaml::from_str(&serde_yaml::to_string(&journal).unwrap()).unwrap();
        assert_eq!(kept, journal);
        let other = domains(&["b.org"]);
        assert_eq!(journal.due(&name, &other, None), Timestamp::MIN);
        journal.fail(&name, &other, (Failed::Unreachable, "down".into()), at(0));
        assert_eq!(journal.due(&name, &other, None), at(5));
        assert!(journal.forget(&name) && !journal.forget(&name));
        assert_eq!(journal.issuing(&name), Issuing::Quiet);
    }

    /// An operator that is killed again and again in the middle of an order
    /// neither stops trying nor runs into the authority's limit.
    #[test]
    fn an_order_that_was_cut_off_is_tried_again_soon_within_the_limit() {
        let mut journal = Journal::default();
        let name = "ky04".parse().unwrap();
        let one = domains(&["a.org"]);
        for second in 0..3 {
            assert_eq!(journal.free(3, at(second)), at(second));
            journal.begin(&name, &one, at(second));
        }
        assert_eq!(journal.due(&name, &one, None), at(7));
        assert_eq!(journal.issuing(&name), Issuing::Quiet);
        assert_eq!(journal.free(3, at(10)), at(3600));
        assert_eq!(journal.free(3, at(3600)), at(3600));
        assert_eq!(journal.free(2, at(10)), at(3601));
        journal.begin(&name, &one, at(3601));
        assert_eq!(journal.ordered, [at(2), at(3601)]);
    }
}
