//! What it costs to take a tenant over: nothing, a restart, or work by hand
//! first. The operator judges by the same rules when it does it.

use std::collections::{BTreeMap, BTreeSet};

use cb_core::adopt::{Handmade, Obstacle, Place, UnitFile, differences, environment, obstacles};
use cb_core::desired::Desired;
use cb_core::observed::Secret;

use super::scan::FoundTenant;

/// What it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cost {
    /// Its services go on.
    Nothing,
    /// These services are restarted, and why.
    Restart(Vec<String>),
    /// Something has to be moved by a person first.
    InTheWay(Vec<String>),
}

impl Cost {
    /// In one line.
    pub(super) fn headline(&self) -> &'static str {
        match self {
            Cost::Nothing => "can be taken over without a restart",
            Cost::Restart(_) => "can be taken over; its services are restarted, because",
            Cost::InTheWay(_) => "cannot be taken over yet",
        }
    }

    /// The reasons.
    pub(super) fn details(&self) -> &[String] {
        match self {
            Cost::Nothing => &[],
            Cost::Restart(why) | Cost::InTheWay(why) => why,
        }
    }
}

/// What was found out about a tenant.
pub(super) struct Judged {
    pub(super) cost: Cost,
    /// What is not where it has to be.
    pub(super) obstacles: BTreeSet<Obstacle>,
    /// What the operator would tell its services.
    pub(super) environment: BTreeMap<String, String>,
}

/// Compares what was found with what the operator would write.
pub(super) fn judge(found: &FoundTenant, desired: &Desired) -> Judged {
    let env = Handmade::from([(
        desired.env.path.clone(),
        Secret::new(desired.env.content.clone()),
    )]);
    let (mut words, mut restarts): (Vec<String>, Vec<String>) = Default::default();
    let mut judged = Judged {
        cost: Cost::Nothing,
        obstacles: BTreeSet::new(),
        environment: BTreeMap::new(),
    };
    for service in &found.services {
        let new = desired.services.iter().find(|new| new.name == service.name);
        let Some(new) = new else {
            continue;
        };
        let new = UnitFile::parse(&new.file.content);
        let new_env: BTreeMap<String, String> = environment(&new, &env);
        let place = Place::of(&desired.user, &new_env);
        for obstacle in obstacles(&service.unit, &service.environment, place) {
            if judged.obstacles.insert(obstacle.clone()) {
                words.push(obstacle.words(place));
            }
        }
        let now = (&service.unit, &service.environment);
        let why = differences(now, (&new, &new_env));
        restarts.extend(why.iter().map(|why| format!("{}: {why}", service.name)));
        judged.environment = new_env;
    }
    judged.cost = if !words.is_empty() {
        Cost::InTheWay(words)
    } else if !restarts.is_empty() {
        Cost::Restart(restarts)
    } else {
        Cost::Nothing
    };
    judged
}
