//! Alerts of drift: of what differs now, and of what was put right a moment
//! ago. People are told of both; the second is over by itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Alert, DRIFTED};
use crate::api::{Condition, Kind, TenantStatus};
use crate::drift::DriftKind;
use crate::event::{Reason, Series};
use crate::types::TenantName;

/// The condition that alerts of what was put right name.
const CORRECTED: &str = "DriftCorrected";
/// How long something that was put right is an alert.
const SHOWN: SignedDuration = SignedDuration::from_mins(5);

/// What differs now, an alert for each kind; or one, if what is fought over is
/// what matters.
pub(super) fn of(
    tenant: &TenantName,
    status: &TenantStatus,
    drifted: &Condition,
    now: Timestamp,
) -> Vec<Alert> {
    let alert = |reason: &str, message: String| Alert {
        tenant: Some(tenant.clone()),
        reason: reason.to_owned(),
        revision: drifted.observed_generation,
        condition: DRIFTED.to_owned(),
        message,
        since: drifted.last_transition_time.parse().unwrap_or(now),
    };
    if drifted.reason == "Fought" {
        return vec![alert(Reason::DriftFought.as_str(), drifted.message.clone())];
    }
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for drift in &status.drift {
        let lines = kinds.entry(&drift.kind).or_default();
        lines.push(drift.to_string());
    }
    if kinds.is_empty() {
        return vec![alert(DRIFTED, drifted.message.clone())];
    }
    let each = kinds.into_iter();
    each.map(|(kind, lines)| alert(kind, lines.join("; ")))
        .collect()
}

/// What of a tenant was put right a moment ago, and when the first of it is
/// over. `series` are its events; a note of `DriftCorrected` begins with the
/// kind.
#[must_use]
pub fn corrected<'a>(
    tenant: &TenantName,
    revision: u64,
    series: impl IntoIterator<Item = &'a Series>,
    now: Timestamp,
) -> (Vec<Alert>, Option<Timestamp>) {
    let mut alerts: BTreeMap<&str, Alert> = BTreeMap::new();
    let mut over: Option<Timestamp> = None;
    for series in series {
        let end = series.last_seen.saturating_add(SHOWN);
        let end = end.unwrap_or(Timestamp::MAX);
        if !is_correction(series) || end <= now {
            continue;
        }
        over = Some(over.map_or(end, |over| over.min(end)));
        let note = &series.event.note;
        let word = note.split(' ').next().unwrap_or_default();
        let reason = kind(word).map_or(CORRECTED, DriftKind::as_str);
        let alert = alerts.entry(reason).or_insert_with(|| Alert {
            tenant: Some(tenant.clone()),
            reason: reason.to_owned(),
            revision,
            condition: CORRECTED.to_owned(),
            message: "it was put right".to_owned(),
            since: series.last_seen,
        });
        alert.message.push_str("; ");
        alert.message.push_str(note);
        alert.since = alert.since.min(series.last_seen);
    }
    (alerts.into_values().collect(), over)
}

/// Whether an event tells of drift of a tenant that was put right: by the
/// operator, or by systemd, which restarts a service that ended before anybody
/// could be told of it.
#[must_use]
pub fn is_correction(series: &Series) -> bool {
    let event = &series.event;
    let put_right = match event.reason {
        Reason::DriftCorrected => true,
        Reason::DriftDetected => {
            let word = event.note.split(' ').next().unwrap_or_default();
            kind(word).is_some_and(DriftKind::is_end_of_run)
        }
        _ => false,
    };
    put_right && event.regarding.kind == Kind::Tenant
}

fn kind(word: &str) -> Option<DriftKind> {
    let mut all = DriftKind::ALL.iter().copied();
    all.find(|kind| kind.as_str() == word)
}
