//! What a person or another tool set up and a manifest asks to take over
//! ([`crate::adopt`]).

use std::collections::BTreeMap;
use std::path::Path;

use super::Planner;
use crate::adopt::{self, Handmade, SiteFile, UnitFile};
use crate::desired::DesiredService;
use crate::observed::Secret;
use crate::plan::{Action, Aspect};
use crate::status::ProblemReason;

type Environment = BTreeMap<String, String>;

impl Planner<'_> {
    /// Whether the file was made by hand and is to be taken over.
    pub(super) fn takes_over(&self, path: &Path) -> bool {
        self.observed.handmade.contains_key(path)
    }

    /// What has to be moved by a person first (law 5).
    pub(super) fn what_is_in_the_way(&mut self) {
        let mut obstacles: Vec<String> = Vec::new();
        for service in &self.desired.services {
            let Some((unit, environment)) = self.handmade(service) else {
                continue;
            };
            let (_, ours) = self.written(service);
            let place = adopt::Place::of(&self.desired.user, &ours);
            for obstacle in adopt::obstacles(&unit, &environment, place) {
                let obstacle = obstacle.words(place);
                if !obstacles.contains(&obstacle) {
                    obstacles.push(obstacle);
                }
            }
        }
        for obstacle in obstacles {
            let message = format!("the tenant cannot be taken over: {obstacle}");
            self.block(Aspect::Base, ProblemReason::Conflict, message);
        }
    }

    /// Records what runs already as it should, before the files are changed
    /// that prove it.
    pub(super) fn record_what_runs(&mut self) {
        for service in &self.desired.services {
            let unit = self.unit(&service.unit);
            let active = unit.is_some_and(|unit| unit.is_active());
            let known = self.record.services.contains_key(&service.name);
            if active && !known && self.runs_as_desired(service) {
                let action = Action::RecordStarted {
                    service: service.name.clone(),
                    unit: service.unit.clone(),
                    revision: service.revision.clone(),
                    invocation_id: unit.and_then(|unit| unit.invocation_id.clone()),
                };
                let reason = "it was set up by hand and runs with what it would be started with";
                self.step(Aspect::Services, action, reason);
            }
        }
    }

    /// Whether a service that was set up by hand would be started the same.
    pub(super) fn runs_as_desired(&self, service: &DesiredService) -> bool {
        let Some(now) = self.handmade(service) else {
            return false;
        };
        let new = self.written(service);
        let same = adopt::differences((&now.0, &now.1), (&new.0, &new.1)).is_empty();
        same && self.overrides(service).is_empty() && !self.credentials_differ()
    }

    /// Takes the sites away that served the tenant until now: another file
    /// than the operator's may have them.
    pub(super) fn old_sites(&mut self) {
        let Some(site) = &self.desired.site else {
            return;
        };
        let ours = SiteFile::parse(&site.content);
        let domains: Vec<&str> = ours.domains.iter().map(String::as_str).collect();
        let observed = self.observed;
        for (path, text) in &observed.handmade {
            let old = SiteFile::parse(text.reveal());
            if *path == site.path || old.domains.is_empty() {
                continue;
            }
            if !old.is_only_of(&domains) || !old.ports().is_subset(&ours.ports()) {
                let message = format!(
                    "{} serves more than the tenant's domains from its ports; take out what is the tenant's by hand, and take the file out of the annotation {}",
                    path.display(),
                    adopt::ANNOTATION
                );
                self.block(Aspect::Proxy, ProblemReason::Conflict, message);
                continue;
            }
            let reason = "the operator's own site serves the same";
            self.step(Aspect::Proxy, Action::Adopt(path.clone()), reason);
        }
    }

    /// The unit that was written by hand, with its environment.
    fn handmade(&self, service: &DesiredService) -> Option<(UnitFile, Environment)> {
        let text = self.observed.handmade.get(&service.file.path)?;
        let unit = UnitFile::parse(text.reveal());
        let environment = adopt::environment(&unit, &self.observed.handmade);
        Some((unit, environment))
    }

    /// The unit that would be written, with its environment.
    fn written(&self, service: &DesiredService) -> (UnitFile, Environment) {
        let unit = UnitFile::parse(&service.file.content);
        let env = &self.desired.env;
        let text = Secret::new(env.content.clone());
        let files = Handmade::from([(env.path.clone(), text)]);
        let environment = adopt::environment(&unit, &files);
        (unit, environment)
    }
}
