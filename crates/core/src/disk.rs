//! What a tenant may have on disk, how it is held to that, and what its use
//! means.
//!
//! Use is looked at apart from passes and judged here; only the [`Level`] is
//! recorded, so that a number that grows changes no record and no status
//! (law 8). The record is also what outlives the operator: a tenant that was
//! stopped for its use is not started again before somebody has looked.

use crate::status::ProblemReason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Host, TenantSpec};
use crate::record::Record;
use crate::types::DiskSpace;

/// From this share of the limit on a tenant is nearly full, in percent.
const NEARLY: u64 = 80;
/// Below this share it no longer is. The distance keeps a use that goes up and
/// down from being news each time.
const NO_LONGER: u64 = 75;

/// How a tenant is held to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// The file system refuses to store more: it has project quotas.
    Quota,
    /// The operator looks from time to time and stops the tenant's services at
    /// the limit: the file system has no project quotas.
    Watched,
}

/// What a tenant has on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes; the least there is, if it could not be counted to its end.
    pub bytes: u64,
    /// How it is held to its limit.
    pub enforcement: Enforcement,
    /// Whether all of it was counted. There are more files or deeper folders
    /// than are looked at otherwise, which no application needs.
    pub counted: bool,
}

/// What a tenant's use means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// It is well within its limit.
    Within,
    /// It comes near its limit.
    NearlyFull,
    /// It is at its limit, and nothing but the operator keeps it there: its
    /// services do not run until the limit is raised or something is deleted.
    Full,
    /// It cannot be counted, which has the same consequence.
    Uncountable,
}

impl Level {
    /// Whether the tenant's services must not run.
    #[must_use]
    pub fn stops(self) -> bool {
        matches!(self, Level::Full | Level::Uncountable)
    }
}

/// What is recorded of a tenant's use: the outcome of the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskRecord {
    /// The limit that it was judged by.
    pub limit: DiskSpace,
    /// How the tenant is held to it.
    pub enforcement: Enforcement,
    /// What its use means.
    pub level: Level,
}

impl DiskRecord {
    /// The record after a look. `before` is the one before it.
    #[must_use]
    pub fn of(found: &DiskUse, limit: &DiskSpace, before: Option<&DiskRecord>) -> Self {
        let was = before.filter(|before| before.limit == *limit);
        Self {
            limit: limit.clone(),
            enforcement: found.enforcement,
            level: level(found, limit.bytes(), was.map(|was| was.level)),
        }
    }
}

fn level(found: &DiskUse, limit: u64, before: Option<Level>) -> Level {
    let share = |percent: u64| u128::from(limit) * u128::from(percent) / 100;
    let bytes = u128::from(found.bytes);
    // With a quota the file system itself is what stops the tenant.
    if found.enforcement == Enforcement::Watched {
        if found.bytes >= limit {
            return Level::Full;
        }
        if !found.counted {
            return Level::Uncountable;
        }
    }
    let near = match before {
        Some(Level::NearlyFull) => NO_LONGER,
        _ => NEARLY,
    };
    if bytes >= share(near) {
        Level::NearlyFull
    } else {
        Level::Within
    }
}

/// The limit of a tenant with this spec: its own, or the Host's default.
#[must_use]
pub fn limit_of<'a>(spec: &'a TenantSpec, host: &'a Host) -> Option<&'a DiskSpace> {
    let default = host.spec.defaults.resources.disk.as_ref();
    spec.resources.disk.as_ref().or(default)
}

/// Whether a record's level was judged by another limit than the one there is
/// now, or by none.
#[must_use]
pub fn is_outdated(record: &Record, limit: Option<&DiskSpace>) -> bool {
    record.disk.as_ref().map(|disk| &disk.limit) != limit
}

/// Why a tenant's services do not run, and what to do about it; without the
/// amount that is used, which may change all the time (law 8).
#[must_use]
pub fn stopped(disk: &DiskRecord) -> Option<String> {
    let limit = &disk.limit;
    match disk.level {
        Level::Within | Level::NearlyFull => None,
        Level::Full => Some(format!(
            "its files take the limit of {limit} on disk (spec.resources.disk), so its services do not run; raise the limit or delete files, and they start again"
        )),
        Level::Uncountable => Some(format!(
            "its files cannot be counted against the limit of {limit} on disk (spec.resources.disk), so its services do not run: there are too many, or its folders are too deep; delete some, and they start again"
        )),
    }
}

/// The condition of a tenant that is not stopped: reason and message.
#[must_use]
pub fn fine(disk: &DiskRecord) -> (&'static str, String) {
    let limit = &disk.limit;
    let then = match disk.enforcement {
        Enforcement::Quota => "the file system stores no more than that",
        Enforcement::Watched => "its services are stopped when they reach it",
    };
    match disk.level {
        Level::NearlyFull => (
            NEARLY_FULL,
            format!("it has {NEARLY} % or more of its limit of {limit} on disk; {then}"),
        ),
        _ => ("Within", format!("the limit is {limit}; {then}")),
    }
}

/// The reason of a tenant that comes near its limit.
pub const NEARLY_FULL: &str = ProblemReason::DiskNearlyFull.as_str();

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: u64, enforcement: Enforcement) -> DiskUse {
        DiskUse {
            bytes,
            enforcement,
            counted: true,
        }
    }

    fn limit(bytes: u64) -> DiskSpace {
        bytes.to_string().parse().unwrap()
    }

    fn after(bytes: u64, of: u64, before: Option<&DiskRecord>) -> DiskRecord {
        DiskRecord::of(&found(bytes, Enforcement::Watched), &limit(of), before)
    }

    /// Law 8: near the edge, the level does not go to and fro.
    #[test]
    fn a_level_is_left_a_little_later_than_it_is_reached() {
        let mut seen: Option<DiskRecord> = None;
        let mut levels = Vec::new();
        for bytes in [0, 79, 80, 78, 75, 74, 79, 80, 99, 100, 99] {
            let now = after(bytes, 100, seen.as_ref());
            levels.push(now.level);
            seen = Some(now);
        }
        use Level::{Full, NearlyFull, Within};
        let expected = [
            Within, Within, NearlyFull, NearlyFull, NearlyFull, Within, Within, NearlyFull,
            NearlyFull, Full, NearlyFull,
        ];
        assert_eq!(levels, expected);
    }

    #[test]
    fn a_raised_limit_is_judged_anew() {
        let full = after(100, 100, None);
        assert!(full.level.stops());
        assert_eq!(after(100, 134, Some(&full)).level, Level::Within);
        // Nothing overflows.
        let huge = 999_999_999_999_999;
        assert_eq!(after(huge - 1, huge, None).level, Level::NearlyFull);
    }

    /// Only what nothing else holds is stopped.
    #[test]
    fn a_quota_stops_nobody() {
        let of = |use_: DiskUse| DiskRecord::of(&use_, &limit(100), None);
        let full = of(found(100, Enforcement::Quota));
        assert_eq!((full.level, stopped(&full)), (Level::NearlyFull, None));
        let uncounted = |enforcement| DiskUse {
            counted: false,
            ..found(1, enforcement)
        };
        let watched = of(uncounted(Enforcement::Watched));
        assert_eq!(watched.level, Level::Uncountable);
        assert!(stopped(&watched).unwrap().contains("limit of 100 on disk"));
        let quota = of(uncounted(Enforcement::Quota));
        assert_eq!((quota.level, stopped(&quota)), (Level::Within, None));
    }
}
