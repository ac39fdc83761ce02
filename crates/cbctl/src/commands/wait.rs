//! Waiting until tenants are as they should be, or gone.
//!
//! The state is asked for again and again, so that an operator that is
//! restarted meanwhile is no failure.

use std::collections::BTreeMap;
use std::time::Duration;

use cb_core::api::Kind;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::plural;
use crate::cli::Context;
use crate::client::Error;
use crate::error::CommandError;
use crate::object::{Object, full_name};
use crate::output::columns::state;

/// The first pause between two looks; each is longer, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// Up to so many tenants are asked for one by one.
const FEW: usize = 4;

/// What is waited for: `Ready`, `Drifted=False`, `condition=Ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    kind: String,
    status: String,
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("condition=").unwrap_or(text);
        let (kind, status) = text.split_once('=').unwrap_or((text, "True"));
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        let statuses = ["True", "False", "Unknown"];
        let status = statuses
            .iter()
            .find(|known| known.eq_ignore_ascii_case(status));
        match status {
            Some(status) if word(kind) => Ok(Self {
                kind: kind.to_owned(),
                status: (*status).to_owned(),
            }),
            _ => Err("write a condition's type, for example Ready or Drifted=False".into()),
        }
    }
}

/// How long to wait: `90s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok();
    let zero = (text == "0").then_some(SignedDuration::ZERO);
    parsed
        .or(zero)
        .and_then(|time| Duration::try_from(time).ok())
        .ok_or_else(|| "write a time like 90s, 5m or 1h30m".into())
}

/// A tenant that is waited for, and the generation that it must have reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) generation: u64,
    /// Whether it may be on other hosts, by its placement.
    pub(super) placed: bool,
}

/// Waits until each tenant has the condition. Says what became of each; true if
/// all have it.
pub(super) async fn until_met(
    context: &Context,
    targets: Vec<Target>,
    condition: &Condition,
    timeout: Duration,
) -> Result<bool, CommandError> {
    let (mut pending, mut good) = (targets, true);
    let mut clock = Clock::new(timeout);
    while !pending.is_empty() {
        let names: Vec<&str> = pending.iter().map(|target| target.name.as_str()).collect();
        let Some(seen) = clock.look(context, Kind::Tenant, &names).await? else {
            continue;
        };
        pending.retain(|target| match seen.get(&target.name) {
            None => {
                let name = full_name(Kind::Tenant, &target.name);
                let ui = &context.ui;
                if target.placed {
                    ui.note(&format!(
                        "{name} is placed on other hosts and not waited for"
                    ));
                } else {
                    ui.note(&format!("error: {name} was deleted meanwhile"));
                    good = false;
                }
                false
            }
            Some(object) if is_met(object, target, condition) => {
                let name = full_name(Kind::Tenant, &target.name);
                context.ui.line(&format!("{name} condition met"));
                false
            }
            Some(_) => true,
        });
        let waiting: Vec<String> = pending
            .iter()
            .map(|target| {
                let why = seen
                    .get(&target.name)
                    .map_or_else(String::new, |object| state(object, &object.tenant_status()));
                format!("{} ({why})", target.name)
            })
            .collect();
        if !pending.is_empty() && !clock.pause(context, &waiting).await {
            for target in &pending {
                timed_out(context, Kind::Tenant, &target.name, seen.get(&target.name));
            }
            return Ok(false);
        }
    }
    Ok(good)
}

fn is_met(object: &Object, target: &Target, wanted: &Condition) -> bool {
    let status = object.tenant_status();
    status.condition(&wanted.kind).is_some_and(|condition| {
        condition.observed_generation >= target.generation
            && condition.status.as_str() == wanted.status
    })
}

/// Waits until none of the objects is there any more. Gives the names of those
/// that were there to the end.
pub(super) async fn until_gone(
    context: &Context,
    kind: Kind,
    names: Vec<String>,
    timeout: Duration,
) -> Result<Vec<String>, CommandError> {
    let mut pending = names;
    let mut clock = Clock::new(timeout);
    while !pending.is_empty() {
        let names: Vec<&str> = pending.iter().map(String::as_str).collect();
        let Some(seen) = clock.look(context, kind, &names).await? else {
            continue;
        };
        pending.retain(|name| seen.contains_key(name));
        if !pending.is_empty() && !clock.pause(context, &pending).await {
            for name in &pending {
                timed_out(context, kind, name, seen.get(name));
            }
            return Ok(pending);
        }
    }
    Ok(pending)
}

fn timed_out(context: &Context, kind: Kind, name: &str, object: Option<&Object>) {
    let plural = kind.plural();
    let ui = &context.ui;
    ui.note(&format!(
        "error: timed out waiting for the condition on {plural}/{name}"
    ));
    let status = object.map(Object::tenant_status).unwrap_or_default();
    let telling = ["Stalled", "Reconciling", "Ready"];
    if let Some(condition) = telling.iter().find_map(|kind| status.condition(kind)) {
        ui.note(&format!(
            "  {} is {}: {}: {}",
            condition.kind,
            condition.status.as_str(),
            condition.reason,
            condition.message
        ));
    }
}

/// When to look again, and when to stop.
struct Clock {
    deadline: Instant,
    pause: Duration,
}

impl Clock {
    fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        // A time that no clock can say is as good as a century.
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        Self {
            deadline: now.checked_add(timeout).unwrap_or(now + far),
            pause: FIRST,
        }
    }

    /// The objects of these names that there are; `None` after a pause if the
    /// operator cannot be reached just now.
    async fn look(
        &mut self,
        context: &Context,
        kind: Kind,
        names: &[&str],
    ) -> Result<Option<BTreeMap<String, Object>>, CommandError> {
        match seen(context, kind, names).await {
            Ok(seen) => Ok(Some(seen)),
            Err(error) if error.is_final() => {
                let waiting = ["the operator to answer".to_owned()];
                if self.pause(context, &waiting).await {
                    Ok(None)
                } else {
                    Err(error.into())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Pauses and tells a person for what; false if the time is over.
    async fn pause(&mut self, context: &Context, waiting: &[String]) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let more = match waiting.len() {
            0 | 1 => String::new(),
            n => format!(" and {}", plural(n - 1, "other")),
        };
        let first = waiting.first().map(String::as_str).unwrap_or_default();
        context.ui.progress(&format!("waiting for {first}{more} …"));
        tokio::time::sleep_until((now + self.pause).min(self.deadline)).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST);
        true
    }
}

async fn seen(
    context: &Context,
    kind: Kind,
    names: &[&str],
) -> Result<BTreeMap<String, Object>, Error> {
    let mut out = BTreeMap::new();
    if names.len() > FEW {
        for object in context.client.list(kind, None).await? {
            out.insert(object.name().to_owned(), object);
        }
        return Ok(out);
    }
    for name in names {
        if let Some(object) = context.client.find(kind, name).await? {
            out.insert((*name).to_owned(), object);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_and_times_are_read() {
        let condition = |text: &str| {
            let condition = text.parse::<Condition>().ok()?;
            Some(format!("{}={}", condition.kind, condition.status))
        };
        assert_eq!(condition("Ready").as_deref(), Some("Ready=True"));
        assert_eq!(
            condition("condition=Ready=false").as_deref(),
            Some("Ready=False")
        );
        assert_eq!(condition("Drifted=False").as_deref(), Some("Drifted=False"));
        assert_eq!(condition("Ready=maybe"), None);
        assert_eq!(condition(""), None);
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }

    /// Law 8: that the old spec was ready says nothing about the new one.
    #[test]
    fn a_condition_of_an_older_generation_is_not_enough() {
        let object = Object::new(json!({
            "metadata": {"name": "a", "generation": 2},
            "status": {"observedGeneration": 2, "conditions": [{
                "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        }));
        let ready = "Ready".parse().unwrap();
        let at = |generation| Target {
            name: "a".into(),
            generation,
            placed: false,
        };
        assert!(is_met(&object, &at(2), &ready));
        assert!(!is_met(&object, &at(3), &ready));
    }
}
