//! What is wrong with the host itself: its folder or repository of manifests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Alert, Judgement};
use crate::drift::DriftKind;
use crate::status::ProblemReason;

/// Why something of the host is not as it should be: both lists are closed and
/// documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostReason {
    /// See `docs/reasons.md`.
    Problem(ProblemReason),
    /// See `docs/drift.md`.
    Drift(DriftKind),
}

impl HostReason {
    fn as_str(self) -> &'static str {
        match self {
            HostReason::Problem(reason) => reason.as_str(),
            HostReason::Drift(kind) => kind.as_str(),
        }
    }
}

impl From<ProblemReason> for HostReason {
    fn from(reason: ProblemReason) -> Self {
        HostReason::Problem(reason)
    }
}

impl From<DriftKind> for HostReason {
    fn from(kind: DriftKind) -> Self {
        HostReason::Drift(kind)
    }
}

/// All that is wrong with the host, with the time since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostProblems {
    /// By condition, then reason.
    known: BTreeMap<(&'static str, &'static str), (String, Timestamp)>,
}

impl HostProblems {
    /// Takes in all that is wrong with one condition now. Several with one
    /// reason are one, with the messages of all. Returns whether that changed
    /// anything.
    pub fn set(
        &mut self,
        condition: &'static str,
        problems: impl IntoIterator<Item = (impl Into<HostReason>, String)>,
        now: Timestamp,
    ) -> bool {
        let mut new: BTreeMap<(&'static str, &'static str), (String, Timestamp)> = BTreeMap::new();
        for (reason, message) in problems {
            let key = (condition, reason.into().as_str());
            let since = self.known.get(&key).map_or(now, |(_, since)| *since);
            new.entry(key)
                .and_modify(|(all, _)| {
                    all.push_str("; ");
                    all.push_str(&message);
                })
                .or_insert_with(|| (message.clone(), since));
        }
        let before = self.known.clone();
        self.known.retain(|(of, _), _| *of != condition);
        self.known.append(&mut new);
        self.known != before
    }

    /// What it means for alerts.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let alert =
            |(&(condition, reason), (message, since)): (&(&str, &str), &(String, _))| Alert {
                tenant: None,
                reason: reason.to_owned(),
                revision: 0,
                condition: condition.to_owned(),
                message: message.clone(),
                since: *since,
            };
        Judgement {
            firing: self.known.iter().map(alert).collect(),
            undecided: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ProblemReason::{FolderNotRead, Invalid};
    use super::*;

    #[test]
    fn what_stays_wrong_keeps_its_time_and_is_one_per_reason() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut problems = HostProblems::default();
        assert!(!problems.set("A", None::<(ProblemReason, String)>, at(1)));
        let two = [
            (FolderNotRead, "one".to_owned()),
            (FolderNotRead, "two".to_owned()),
        ];
        assert!(problems.set("A", two.clone(), at(1)));
        assert!(!problems.set("A", two, at(2)));
        assert!(problems.set("B", [(Invalid, "three".to_owned())], at(3)));
        let firing = problems.judge().firing;
        let told: Vec<_> = firing
            .iter()
            .map(|a| {
                (
                    a.condition.as_str(),
                    a.reason.as_str(),
                    a.message.as_str(),
                    a.since,
                )
            })
            .collect();
        let expected = [
            ("A", "FolderNotRead", "one; two", at(1)),
            ("B", "Invalid", "three", at(3)),
        ];
        assert_eq!(told, expected);
        assert!(problems.set("A", None::<(ProblemReason, String)>, at(4)));
        assert_eq!(problems.judge().firing.len(), 1);
    }
}
