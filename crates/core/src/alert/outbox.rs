//! One sink's view of the alerts: what it was told, what it is to be told, and
//! what it has not taken yet. All of it is one value, so that writing it to one
//! file keeps it in step whenever the operator is killed.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Alert, Judgement, Judgements, Message, State, Subject};
use crate::digest;

/// How many messages wait for a sink at most, the oldest go first; and how many
/// alerts they may hold together.
pub const MAX_QUEUE: usize = 1000;
const MAX_WEIGHT: usize = 20_000;
/// What the rate is counted over.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// How often a sink is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long changes are collected for one message.
    pub group: SignedDuration,
    /// After how long a message is repeated while nothing changes.
    pub repeat: SignedDuration,
    /// How many messages an hour at most.
    pub per_hour: Option<usize>,
}

/// What one sink was told and is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outbox {
    host: String,
    /// Makes ids of this outbox differ from those of one that was lost.
    begun: Timestamp,
    /// How many messages were written.
    written: u64,
    /// By reason.
    groups: BTreeMap<String, Group>,
    /// Messages that the sink has not taken, the oldest first.
    queue: VecDeque<Message>,
    /// When messages of the last hour were written.
    recent: VecDeque<Timestamp>,
}

/// The alerts with one reason, by subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    /// What is wrong.
    #[serde(with = "by_subject")]
    firing: BTreeMap<Subject, Alert>,
    /// What the newest message says is wrong.
    #[serde(with = "by_subject")]
    told: BTreeMap<Subject, Alert>,
    /// Since when the two differ.
    changed: Option<Timestamp>,
    /// When the newest message was written.
    last: Option<Timestamp>,
}

impl Outbox {
    /// Nothing is told yet.
    #[must_use]
    pub fn new(host: &str, now: Timestamp) -> Self {
        Self {
            host: host.to_owned(),
            begun: now,
            written: 0,
            groups: BTreeMap::new(),
            queue: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Takes note of all that is known now. Returns whether anything changed
    /// that must not be forgotten.
    pub fn observe(&mut self, judgements: &Judgements, now: Timestamp) -> bool {
        let mut firing: BTreeMap<String, BTreeMap<Subject, Alert>> = BTreeMap::new();
        for alert in judgements.values().flat_map(|judgement| &judgement.firing) {
            let group = firing.entry(alert.reason.clone()).or_default();
            group.insert(alert.tenant.clone(), alert.clone());
        }
        for alert in self.groups.values().flat_map(|group| group.firing.values()) {
            if judgements
                .get(&alert.tenant)
                .is_some_and(|known| stands(alert, known))
            {
                let group = firing.entry(alert.reason.clone()).or_default();
                group
                    .entry(alert.tenant.clone())
                    .or_insert_with(|| alert.clone());
            }
        }
        let mut changed = false;
        for reason in firing.keys() {
            if !self.groups.contains_key(reason) {
                self.groups.insert(reason.clone(), Group::default());
            }
        }
        self.groups.retain(|reason, group| {
            let new = firing.remove(reason).unwrap_or_default();
            changed |= new != group.firing;
            group.firing = new;
            if group.is_told() {
                changed |= group.changed.take().is_some();
            } else if group.changed.is_none_or(|at| at > now) {
                group.changed = Some(now);
                changed = true;
            }
            // One that came and went unsaid.
            !(group.firing.is_empty() && group.told.is_empty())
        });
        changed
    }

    /// Writes the messages that are due into the queue. Returns how many, and
    /// how many old ones had to go for them.
    pub fn tick(&mut self, pace: &Pace, now: Timestamp) -> (usize, usize) {
        self.recent.retain(|at| counts(*at, now));
        let mut written = 0;
        let due: Vec<String> = self
            .groups
            .iter()
            .filter(|(reason, group)| self.due(reason, group, pace).is_some_and(|at| at <= now))
            .map(|(reason, _)| reason.clone())
            .collect();
        for reason in due {
            if self.rate_free(pace, now).is_some() {
                break;
            }
            let Some(group) = self.groups.get_mut(&reason) else {
                continue;
            };
            let is_over = |told: &&Alert| {
                let now = group.firing.get(&told.tenant);
                now.is_none_or(|alert| !alert.is_same(told))
            };
            let resolved = group.told.values().filter(is_over).cloned().collect();
            let status = if group.firing.is_empty() {
                State::Resolved
            } else {
                State::Firing
            };
            self.written += 1;
            let number = self.written.to_string();
            let (begun, at) = (self.begun.to_string(), now.to_string());
            let parts = [&self.host, &begun, &reason, &number, &at];
            self.queue.push_back(Message {
                id: digest::of_parts(parts.map(|part| part.as_bytes()))[..32].to_owned(),
                host: self.host.clone(),
                reason: reason.clone(),
                status,
                firing: group.firing.values().cloned().collect(),
                resolved,
                created: now,
            });
            group.told.clone_from(&group.firing);
            group.changed = None;
            group.last = Some(now);
            if group.firing.is_empty() {
                self.groups.remove(&reason);
            }
            if pace.per_hour.is_some() {
                self.recent.push_back(now);
            }
            written += 1;
        }
        let mut lost = 0;
        while self.queue.len() > MAX_QUEUE || (self.queue.len() > 1 && self.weight() > MAX_WEIGHT) {
            self.queue.pop_front();
            lost += 1;
        }
        (written, lost)
    }

    fn weight(&self) -> usize {
        let of = |message: &Message| message.firing.len() + message.resolved.len();
        self.queue.iter().map(of).sum()
    }

    /// When [`Outbox::tick`] may have something to do, if nothing is observed
    /// before.
    #[must_use]
    pub fn next(&self, pace: &Pace, now: Timestamp) -> Option<Timestamp> {
        let due = |(reason, group): (&String, &Group)| self.due(reason, group, pace);
        let first = self.groups.iter().filter_map(due).min()?;
        let free = self.rate_free(pace, now);
        Some(free.map_or(first, |at| first.max(at)))
    }

    /// The message that is to be sent next.
    #[must_use]
    pub fn head(&self) -> Option<&Message> {
        self.queue.front()
    }

    /// How many messages wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Forgets a message: the sink has taken it, or never will.
    pub fn done(&mut self, id: &str) {
        self.queue.retain(|message| message.id != id);
    }

    /// What is wrong now.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.groups.values().flat_map(|group| group.firing.values())
    }

    fn due(&self, reason: &str, group: &Group, pace: &Pace) -> Option<Timestamp> {
        if let Some(changed) = group.changed {
            return Some(later(changed, pace.group));
        }
        // A repetition says nothing that the message before does not, while
        // that waits.
        let waits = self.queue.iter().any(|message| message.reason == reason);
        group
            .last
            .filter(|_| !waits && !group.firing.is_empty())
            .map(|last| later(last, pace.repeat))
    }

    /// When the rate allows the next message, if not now.
    fn rate_free(&self, pace: &Pace, now: Timestamp) -> Option<Timestamp> {
        let limit = pace.per_hour?.max(1);
        let counted: Vec<&Timestamp> = self.recent.iter().filter(|at| counts(**at, now)).collect();
        let at = counted.len().checked_sub(limit)?;
        Some(later(*counted[at], HOUR))
    }
}

/// Whether a message counts for the rate. One from the future does not: a clock
/// that was set back must not keep the sink silent.
fn counts(written: Timestamp, now: Timestamp) -> bool {
    written <= now && later(written, HOUR) > now
}

/// Whether an alert that is not reported any more still stands.
fn stands(alert: &Alert, known: &Judgement) -> bool {
    let replaced = known
        .firing
        .iter()
        .any(|new| new.condition == alert.condition);
    known.undecided && !replaced && alert.condition == super::STALLED
}

impl Group {
    fn is_told(&self) -> bool {
        self.firing.len() == self.told.len()
            && self
                .firing
                .values()
                .zip(self.told.values())
                .all(|(firing, told)| firing.is_same(told))
    }
}

/// A map of alerts, kept as their list: the keys are in them, and the host has
/// no name that a text could have for a key.
mod by_subject {
    use super::{Alert, BTreeMap, Deserialize, Subject};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        alerts: &BTreeMap<Subject, Alert>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(alerts.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Subject, Alert>, D::Error> {
        let alerts = Vec::<Alert>::deserialize(deserializer)?;
        Ok(alerts
            .into_iter()
            .map(|alert| (alert.tenant.clone(), alert))
            .collect())
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
