//! What is wrong with the host itself: its folder or repository of manifests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Alert, Judgement};

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
        problems: impl IntoIterator<Item = (&'static str, String)>,
        now: Timestamp,
    ) -> bool {
        let mut new: BTreeMap<(&'static str, &'static str), (String, Timestamp)> = BTreeMap::new();
        for (reason, message) in problems {
            let key = (condition, reason);
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
    use super::*;

    #[test]
    fn what_stays_wrong_keeps_its_time_and_is_one_per_reason() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut problems = HostProblems::default();
        assert!(!problems.set("A", [], at(1)));
        let two = [("X", "one".to_owned()), ("X", "two".to_owned())];
        assert!(problems.set("A", two.clone(), at(1)));
        assert!(!problems.set("A", two, at(2)));
        assert!(problems.set("B", [("Y", "three".to_owned())], at(3)));
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
        let expected = [("A", "X", "one; two", at(1)), ("B", "Y", "three", at(3))];
        assert_eq!(told, expected);
        assert!(problems.set("A", [], at(4)));
        assert_eq!(problems.judge().firing.len(), 1);
    }
}
