//! Tells of what came of a reading: in the state that tenants' conditions and
//! the host's alerts are made from, in the log and as events, once each, and in
//! status files of manifests that never became tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::admission::Admission;
use cb_core::api::{Host, Kind};
use cb_core::event::{Event, Reason};
use cb_core::manifest::Diagnostic;
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;

use crate::recorder::Recorder;
use crate::state::State;
use crate::status_file::StatusFiles;

/// What alerts say is not as it should be.
const MANIFESTS: &str = "ManifestsAccepted";

/// Tells of readings.
pub(super) struct Reports {
    pub(super) state: Arc<State>,
    pub(super) host: Arc<Host>,
    pub(super) status: Arc<StatusFiles>,
    pub(super) recorder: Recorder,
    pub(super) last: Mutex<Last>,
}

/// What was told of the last reading.
#[derive(Default)]
pub(super) struct Last {
    /// The manifests that never became tenants and have a status file.
    refused: Refused,
    /// What was reported of files without a tenant, and of pruning.
    reported: BTreeSet<String>,
}

/// Manifests that never became tenants.
#[derive(Clone, Default)]
struct Refused {
    /// Files that no tenant is known from.
    files: BTreeSet<String>,
    /// Tenants, with their files.
    tenants: BTreeMap<TenantName, String>,
}

impl Reports {
    /// Tells of a reading. `problem` is why it is not complete, `failed` what
    /// could not be saved of it. Returns the tenants of which the report
    /// changed.
    pub(super) async fn make(
        &self,
        admission: &Admission,
        problem: Option<String>,
        failed: BTreeSet<String>,
    ) -> BTreeSet<TenantName> {
        let touched = self.refusals(admission);
        self.report_rest(admission, problem, failed).await;
        touched
    }

    /// Notes why tenants' newest manifests do not take effect.
    fn refusals(&self, admission: &Admission) -> BTreeSet<TenantName> {
        let refused = admission
            .tenants
            .iter()
            .filter(|(_, verdict)| !verdict.refused.is_empty());
        let refused = refused.map(|(name, verdict)| (name.clone(), lines(&verdict.refused)));
        self.state.set_refused(refused.collect())
    }

    /// Reports what is not in the status of a tenant: in the log, once, and in
    /// status files of manifests that never became tenants.
    async fn report_rest(
        &self,
        admission: &Admission,
        problem: Option<String>,
        failed: BTreeSet<String>,
    ) {
        let mut words = failed;
        words.extend(problem.clone());
        words.extend(admission.blocked.iter().map(ToString::to_string));
        for diagnostics in admission.files.values() {
            words.extend(lines(diagnostics));
        }
        for verdict in admission.applications.values() {
            words.extend(lines(&verdict.refused));
            words.extend(lines(&verdict.warnings));
        }
        for verdict in admission.tenants.values() {
            words.extend(lines(&verdict.refused));
            words.extend(lines(&verdict.warnings));
        }
        let wrong = self.host_problems(admission, problem);
        self.state.set_host_problems(MANIFESTS, wrong);
        self.say(self.events(admission), words);
        self.report_never_accepted(admission).await;
    }

    /// What is wrong with the manifests and in the status of no tenant.
    fn host_problems(
        &self,
        admission: &Admission,
        problem: Option<String>,
    ) -> Vec<(ProblemReason, String)> {
        let mut wrong = Vec::new();
        wrong.extend(problem.map(|words| (ProblemReason::FolderNotRead, words)));
        if let Some(blocked) = &admission.blocked {
            wrong.push((ProblemReason::MassDisappearance, blocked.to_string()));
        }
        let of_applications = admission.applications.values();
        let refused = admission
            .files
            .values()
            .chain(of_applications.map(|verdict| &verdict.refused))
            .flat_map(|found| lines(found));
        let never_accepted = admission
            .tenants
            .iter()
            .filter(|(name, _)| self.state.record(name).is_none())
            .flat_map(|(_, verdict)| lines(&verdict.refused));
        let refused = refused.chain(never_accepted);
        wrong.extend(refused.map(|line| (ProblemReason::ManifestRefused, line)));
        wrong
    }

    /// What is not accepted and not removed, as events: each is a word of the
    /// report too.
    fn events(&self, admission: &Admission) -> Vec<Event> {
        let host = self.host.metadata.name.as_str();
        let refused = Reason::ManifestRefused;
        let mut events = Vec::new();
        if let Some(blocked) = &admission.blocked {
            let note = blocked.to_string();
            events.push(Event::new(
                Kind::Host,
                host,
                Reason::MassDisappearance,
                note,
            ));
        }
        for line in admission.files.values().flat_map(|found| lines(found)) {
            events.push(Event::new(Kind::Host, host, refused, line));
        }
        for (name, verdict) in &admission.applications {
            let lines = lines(&verdict.refused).into_iter();
            events.extend(
                lines.map(|line| Event::new(Kind::Application, name.as_str(), refused, line)),
            );
        }
        for (name, verdict) in &admission.tenants {
            let lines = lines(&verdict.refused).into_iter();
            events.extend(lines.map(|line| Event::tenant(name, refused, line)));
        }
        events
    }

    async fn report_never_accepted(&self, admission: &Admission) {
        let mut refused = Refused::default();
        for (file, diagnostics) in &admission.files {
            let message = lines(diagnostics).join("; ");
            self.status.write_refused_file(file, &message).await;
            refused.files.insert(file.clone());
        }
        for (name, verdict) in &admission.tenants {
            if let Some(first) = verdict.refused.first()
                && self.state.record(name).is_none()
            {
                let message = lines(&verdict.refused).join("; ");
                let file = first.file.clone();
                self.status
                    .write_refused(name.as_str(), &file, &message)
                    .await;
                refused.tenants.insert(name.clone(), file);
            }
        }
        let before = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut last.refused, refused.clone())
        };
        for file in before.files.difference(&refused.files) {
            self.status.remove_file(file).await;
        }
        for (name, file) in before.tenants {
            // A tenant that was accepted now has a status of its own.
            if !refused.tenants.contains_key(&name) && self.state.record(&name).is_none() {
                self.status.remove_named(name.as_str(), &file).await;
            }
        }
    }

    /// Tells of what was not told of at the last reading.
    fn say(&self, events: Vec<Event>, words: BTreeSet<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if !last.reported.contains(&event.note) {
                self.recorder.record(event);
            }
        }
        for word in words.difference(&last.reported) {
            tracing::warn!("{word}");
        }
        last.reported = words;
    }
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}
