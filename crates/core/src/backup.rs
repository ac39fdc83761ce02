//! Backups: what is known of one, and which are due to go.
//!
//! A backup is a folder of the tenant's name and the backup's identifier in
//! the Host's folder of backups. [`Backup`] is the `backup.yaml` in it, which
//! is written last: a folder that has one is whole.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::{BackupPolicy, TenantSpec};
use crate::database::JobFailure;
use crate::types::{BackupId, ObjectName, TenantName, Version};

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its identifier, unique for the tenant.
    pub id: BackupId,
    /// The tenant.
    pub tenant: TenantName,
    /// Why it was made.
    pub cause: BackupCause,
    /// When the copy was made (RFC 3339, UTC).
    pub created: String,
    /// The Application that the tenant ran.
    pub application: ObjectName,
    /// The version that the tenant ran.
    pub version: Version,
    /// The database's schema version, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// The version of DuckDB's storage format, as the file's header has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<u64>,
    /// The spec that the tenant ran with. It holds no secret: those are in the
    /// copy of the `.env`.
    pub spec: TenantSpec,
    /// The database and its log, and the `.env`.
    pub files: Vec<BackupFile>,
    /// Whether the copy was opened and its content was equal to the source's,
    /// and it was not found to be bad since. Without it and without a digest,
    /// it is a plain copy of files that could not be opened.
    pub verified: bool,
    /// The digest of the database's content, see `cb-duckdb digest`; every copy
    /// that was opened has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupFile {
    /// Its name in the backup's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupCause {
    /// Before an upgrade.
    Upgrade,
    /// Before a restore: what the restore replaced.
    Restore,
    /// By the tenant's policy.
    Schedule,
    /// A person asked for it.
    Request,
}

impl Backup {
    /// The name of the database in a backup's folder.
    pub const DATABASE: &'static str = "database.duckdb";
    /// The name of the `.env` in a backup's folder.
    pub const ENV: &'static str = "env";
    /// The name of the description in a backup's folder.
    pub const DESCRIPTION: &'static str = "backup.yaml";

    /// The size of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The identifier of a backup that the tenant's operation of this number
    /// makes.
    #[must_use]
    pub fn new_id(now: Timestamp, number: u64) -> BackupId {
        let id = format!("{}-{number}", now.strftime("%Y%m%dt%H%M%Sz"));
        id.parse().expect("digits, letters and `-`")
    }

    /// When a backup of this identifier was made, if the identifier says so.
    #[must_use]
    pub fn made(id: &BackupId) -> Option<Timestamp> {
        let (time, _) = id.as_str().split_once('-')?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dt%H%M%Sz", time).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }
}

/// Whether a backup that is verified and fails so is bad; it may just not have
/// been looked at otherwise.
#[must_use]
pub fn is_bad(failure: JobFailure) -> bool {
    matches!(
        failure,
        JobFailure::Differs
            | JobFailure::NoBackup
            | JobFailure::NotADatabase
            | JobFailure::WalDoesNotReplay
    )
}

/// What retention has to know of a backup, or of a copy of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its identifier.
    pub id: BackupId,
    /// When it was made; one without a time that can be read is not old.
    pub created: Option<Timestamp>,
    /// Whether it is known to be good.
    pub good: bool,
}

impl From<&Backup> for Candidate {
    fn from(backup: &Backup) -> Self {
        Self {
            id: backup.id.clone(),
            created: backup.created.parse().ok(),
            good: backup.verified,
        }
    }
}

/// The backups that are not to be kept by the policy. `kept` are never among
/// them (an operation refers to them), and neither is the newest good one: it
/// may be the only one.
#[must_use]
pub fn expired(
    mut backups: Vec<Candidate>,
    policy: &BackupPolicy,
    kept: &BTreeSet<BackupId>,
    now: Timestamp,
) -> Vec<BackupId> {
    backups.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let good = backups.iter().find(|backup| backup.good);
    let good = good.map(|backup| backup.id.clone());
    let count = policy.keep_count.unwrap_or(BackupPolicy::KEEP_COUNT);
    let oldest = policy.keep_days.map(|days| {
        let span = SignedDuration::from_hours(24 * i64::from(days));
        now.checked_sub(span).unwrap_or(Timestamp::MIN)
    });
    let too_old = |backup: &Candidate| {
        let created = backup.created;
        oldest.is_some_and(|oldest| created.is_some_and(|created| created < oldest))
    };
    backups
        .into_iter()
        .enumerate()
        .filter(|(place, backup)| *place >= count as usize || too_old(backup))
        .map(|(_, backup)| backup.id)
        .filter(|id| Some(id) != good.as_ref() && !kept.contains(id))
        .collect()
}

/// Which of a tenant's backups are to be copied off the host: those without a
/// copy, but for those whose copies the policy would not keep.
#[must_use]
pub fn to_copy(
    copies: &[Candidate],
    backups: &[Backup],
    policy: &BackupPolicy,
    now: Timestamp,
) -> BTreeSet<BackupId> {
    let copied: BTreeSet<&BackupId> = copies.iter().map(|copy| &copy.id).collect();
    let without = || backups.iter().filter(|backup| !copied.contains(&backup.id));
    let mut all = copies.to_vec();
    all.extend(without().map(Candidate::from));
    let gone = expired(all, policy, &BTreeSet::new(), now);
    let ids = without().map(|backup| backup.id.clone());
    ids.filter(|id| !gone.contains(id)).collect()
}

/// When the next scheduled backup is due: `None` if none is scheduled. `last`
/// is when the last one was made or tried, `since` when the tenant began.
#[must_use]
pub fn next_due(
    policy: &BackupPolicy,
    last: Option<Timestamp>,
    since: Timestamp,
) -> Option<Timestamp> {
    let every = SignedDuration::from_hours(i64::from(policy.every_hours?));
    last.unwrap_or(since).checked_add(every).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(id: &str, day: u32, verified: bool) -> Backup {
        Backup {
            id: id.parse().unwrap(),
            tenant: "ky04".parse().unwrap(),
            cause: BackupCause::Schedule,
            created: format!("2026-11-{day:02}T00:00:00Z"),
            application: "cbapp".parse().unwrap(),
            version: "v1".parse().unwrap(),
            schema_version: Some(1),
            storage_version: None,
            spec: serde_yaml::from_str("{application: cbapp, version: v1}").unwrap(),
            files: Vec::new(),
            verified,
            digest: None,
        }
    }

    fn gone(policy: &str, backups: &[Backup], kept: &[&str]) -> Vec<String> {
        let policy = serde_yaml::from_str(policy).unwrap();
        let kept = kept.iter().map(|id| id.parse().unwrap()).collect();
        let now = "2026-11-30T00:00:00Z".parse().unwrap();
        let candidates = backups.iter().map(Candidate::from).collect();
        let gone = expired(candidates, &policy, &kept, now);
        gone.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_oldest_go_by_count_and_by_age() {
        let all = [1, 10, 20, 29].map(|day| backup(&format!("b{day}"), day, true));
        assert_eq!(gone("{keepCount: 2}", &all, &[]), ["b10", "b1"]);
        assert_eq!(gone("{keepDays: 15}", &all, &[]), ["b10", "b1"]);
        assert_eq!(gone("{}", &all, &[]), [""; 0]);
    }

    /// Law 5: however the policy is, the only good backup stays.
    #[test]
    fn the_newest_good_one_and_those_in_use_stay() {
        let all = [
            backup("old", 1, true),
            backup("good", 2, true),
            backup("bad", 29, false),
        ];
        assert_eq!(gone("{keepCount: 1}", &all, &[]), ["old"]);
        assert_eq!(gone("{keepDays: 1, keepCount: 1}", &all, &["old"]), [""; 0]);
    }

    /// What is copied is kept: otherwise it would be copied again and again.
    #[test]
    fn nothing_is_copied_that_would_be_expired_at_once() {
        let all = [1, 10, 20, 29].map(|day| backup(&format!("b{day}"), day, true));
        let now: Timestamp = "2026-11-30T00:00:00Z".parse().unwrap();
        for (policy, expected) in [
            ("{keepCount: 2}", vec!["b20", "b29"]),
            ("{keepDays: 15}", vec!["b20", "b29"]),
            ("{keepDays: 1, keepCount: 1}", vec!["b29"]),
            ("{}", vec!["b1", "b10", "b20", "b29"]),
        ] {
            let policy = serde_yaml::from_str(policy).unwrap();
            let due = to_copy(&[], &all, &policy, now);
            assert_eq!(
                due.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
                expected
            );
            // As they are listed afterwards: by when they were copied.
            let copy = |id: &BackupId| Candidate {
                id: id.clone(),
                created: Some(now),
                good: true,
            };
            let copies: Vec<Candidate> = due.iter().map(copy).collect();
            let none = BTreeSet::new();
            assert_eq!(expired(copies.clone(), &policy, &none, now), []);
            assert_eq!(to_copy(&copies, &all, &policy, now), none);
        }
    }

    #[test]
    fn identifiers_sort_by_time_and_are_never_given_twice() {
        let now = "2026-11-24T21:30:00Z".parse().unwrap();
        let first = Backup::new_id(now, 1);
        let second = Backup::new_id(now, 2);
        assert_eq!(first.as_str(), "20261124t213000z-1");
        assert_eq!(Backup::made(&first), Some(now));
        assert_eq!(Backup::made(&"by-hand".parse().unwrap()), None);
        assert!(first < second);
    }

    #[test]
    fn the_next_one_is_due_after_the_last_that_was_tried() {
        let policy = serde_yaml::from_str("{everyHours: 24}").unwrap();
        let day = |day: u32| {
            format!("2026-11-{day:02}T00:00:00Z")
                .parse::<Timestamp>()
                .unwrap()
        };
        assert_eq!(next_due(&policy, None, day(1)), Some(day(2)));
        assert_eq!(next_due(&policy, Some(day(5)), day(1)), Some(day(6)));
        assert_eq!(next_due(&BackupPolicy::default(), None, day(1)), None);
    }
}
