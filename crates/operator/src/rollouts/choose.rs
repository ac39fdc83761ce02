//! Which tenants a rollout is for, and whether it can be.

use std::collections::BTreeSet;

use cb_core::record::{Phase, Record};
use cb_core::rollout::{Rollout, Spec};
use cb_core::selector::Selector;
use cb_core::types::TenantName;

use super::RolloutError;
use crate::state::State;

/// How many names a message has.
const NAMED: usize = 5;

/// The tenants, in the order that they are asked in: of a selector by name, or
/// as they were named. An empty selector means all.
pub(super) fn tenants(state: &State, spec: &Spec) -> Result<Vec<TenantName>, RolloutError> {
    let invalid = |text: String| Err(RolloutError::Invalid(text));
    let selector = match (&spec.selector, spec.tenants.as_slice()) {
        (Some(_), [_, ..]) => {
            return invalid("say either a selector or tenants by name, not both".into());
        }
        (None, []) => return invalid("say which tenants: a selector, or names".into()),
        (None, _) => None,
        (Some(text), []) if text.trim().is_empty() => Some(Selector::default()),
        (Some(text), []) => match text.parse::<Selector>() {
            Ok(selector) => Some(selector),
            Err(error) => return invalid(format!("selector: {error}")),
        },
    };
    let chosen: Vec<Record> = match selector {
        Some(selector) => state.with_records(|records| {
            let alive = records.values().filter(|record| is_alive(record));
            let meant = alive.filter(|record| {
                let labels = &record.tenant.metadata.labels;
                selector.matches(|key| labels.get(key).map(AsRef::as_ref))
            });
            meant.cloned().collect()
        }),
        None => {
            let mut seen = BTreeSet::new();
            let names = spec.tenants.iter().filter(|name| seen.insert(*name));
            let found: Vec<_> = names
                .map(|name| (name, state.record(name).filter(is_alive)))
                .collect();
            let missing = found.iter().filter(|(_, record)| record.is_none());
            let missing: Vec<&TenantName> = missing.map(|(name, _)| *name).collect();
            if !missing.is_empty() {
                return invalid(format!("there is no tenant {}", list(&missing)));
            }
            found.into_iter().filter_map(|(_, record)| record).collect()
        }
    };
    if chosen.is_empty() {
        return invalid(
            "no tenant has these labels; `cbctl get tenants --show-labels` shows them".into(),
        );
    }
    let version = &spec.target_version;
    let lists = |record: &&Record| {
        let application = state.application(&record.tenant.spec.application);
        let versions = application.map(|known| known.application.spec.versions);
        let mut versions = versions.into_iter().flatten();
        !versions.any(|known| known.name == *version)
    };
    let without: Vec<&TenantName> = chosen.iter().filter(lists).map(Record::name).collect();
    if !without.is_empty() {
        return invalid(format!(
            "the Application of {} does not list the version `{version}`",
            list(&without)
        ));
    }
    Ok(chosen.iter().map(|record| record.name().clone()).collect())
}

fn is_alive(record: &Record) -> bool {
    record.phase == Phase::Active
}

/// A tenant is in one rollout at a time.
pub(super) fn alone<'a>(
    others: impl Iterator<Item = &'a Rollout>,
    tenants: &[TenantName],
) -> Result<(), RolloutError> {
    let tenants: BTreeSet<&TenantName> = tenants.iter().collect();
    for other in others.filter(|other| !other.is_over()) {
        let members = other.tenants.iter().map(|member| &member.tenant);
        let shared: Vec<&TenantName> = members.filter(|name| tenants.contains(name)).collect();
        if !shared.is_empty() {
            let id = &other.id;
            return Err(RolloutError::Conflict(format!(
                "{id} is {} and has {}; wait for its end, or undo it",
                other.word(),
                list(&shared)
            )));
        }
    }
    Ok(())
}

fn list(names: &[&TenantName]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
