//! One tenant: look, plan, do, look again, report.
//!
//! [`Engine::pass`] is the reconcile function. It is infallible: whatever goes
//! wrong becomes a [`Problem`] in the tenant's status, and the answer says
//! when to look again. What must not live here: what has to be done
//! (`cb_core::plan`) and how (`cb_host`).
//!
//! A pass can be cancelled between two steps: each step is idempotent and the
//! next pass plans again from what it sees.

mod apply;
mod drift;
mod events;
mod operation;
mod problem;
mod readiness;
mod removal;
mod report;
mod rounds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::api::{Application, Host};
use cb_core::desired::{Desired, Inputs, check};
use cb_core::observed::{Observed, Scope, i360_of};
use cb_core::plan::{Aspect, Plan, Step, converge, remove};
use cb_core::ports::PortError;
use cb_core::record::{Phase, Ports, Record};
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_core::types::{TenantName, Version};
use tokio_util::sync::CancellationToken;

use crate::acme::Acme;
use crate::disk::Disks;
use crate::ledger::{Ledger, Request};
use crate::metrics::Metrics;
use crate::named_files::NamedFiles;
use crate::offsite::Offsite;
use crate::recorder::Recorder;
use crate::rollouts::Rollouts;
use crate::state::State;
use crate::status_file::StatusSink;
use operation::Operated;
use problem::{blocked, misfit, no_application, not_saved, unreachable};

pub use drift::Drifts;
pub use operation::{Slots, in_use};
pub use readiness::Readiness;
pub use rounds::Rounds;

/// How often a pass plans again after it did something. A plan is met by one
/// round; a second one is for what changed meanwhile.
const MAX_ROUNDS: usize = 3;

/// Brings tenants to what their records say.
pub struct Engine<H> {
    /// The host.
    pub host: Arc<H>,
    /// Its object.
    pub spec: Arc<Host>,
    /// What is known.
    pub state: Arc<State>,
    /// Who has which ports.
    pub ledger: Arc<Ledger>,
    /// Where statuses are written.
    pub sink: Arc<dyn StatusSink>,
    /// What is known of the services' health.
    pub readiness: Readiness,
    /// Which services are asked without a pass.
    pub rounds: Rounds,
    /// What is known of drift that was put right.
    pub drifts: Drifts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Records events.
    pub recorder: Recorder,
    /// How many operations run at once.
    pub slots: Slots,
    /// The fleet upgrades, which may be undone.
    pub rollouts: Arc<Rollouts>,
    /// Looks at what tenants have on disk.
    pub disks: Arc<Disks<H>>,
    /// Copies backups off the host, if the Host says where to.
    pub offsite: Option<Arc<Offsite<H>>>,
    /// Has certificates issued, if the Host says by whom.
    pub acme: Option<Arc<Acme>>,
    /// Notices when files that manifests name are changed.
    pub named_files: NamedFiles,
    /// The versions that managed units named at the start, for tenants whose
    /// records were lost; each is used once.
    pub recovered: Mutex<BTreeMap<TenantName, Version>>,
}

/// When to look at the tenant again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// When something changes.
    OnChange,
    /// After this time.
    After(Duration),
    /// After the back-off: something failed.
    Backoff,
    /// Never: the tenant is gone.
    Gone,
}

/// What a pass has found out so far.
#[derive(Default)]
struct Findings {
    desired: Option<Desired>,
    plan: Plan,
    observed: Observed,
    problems: Vec<Problem>,
    /// How long the plan is on hold because it is fought.
    paused: Option<Duration>,
}

impl<H: cb_host::Host> Engine<H> {
    /// One pass.
    pub async fn pass(&self, name: &TenantName, cancel: &CancellationToken) -> Again {
        self.rounds.leave(name);
        if let Err(error) = self.state.save(name).await {
            // Nothing may be done that the record does not know of.
            return self.cannot_look(name, not_saved(error)).await;
        }
        let Some(record) = self.state.record(name) else {
            return Again::Gone;
        };
        match record.phase {
            Phase::Active => self.active(name, cancel).await,
            Phase::Retaining | Phase::Deleting => {
                // What is under way is brought to its end first: a database
                // that is half of one version is left to nobody.
                match self.operate(name, cancel).await {
                    Operated::Idle | Operated::Waiting(_) | Operated::Halted => {}
                    Operated::Interrupted => return Again::Backoff,
                    Operated::Blocked(problem) => return self.cannot_look(name, problem).await,
                }
                match self.state.record(name) {
                    Some(record) => self.removing(record, cancel).await,
                    None => Again::Gone,
                }
            }
            Phase::Retained => Again::OnChange,
        }
    }

    /// What a pass would do now, without doing it.
    ///
    /// # Errors
    /// What keeps a plan from being made, as in the tenant's status.
    pub async fn preview(
        &self,
        record: &Record,
        application: Option<&Application>,
    ) -> Result<Plan, Problem> {
        let scope = Scope::of(record, application, &self.spec);
        let observed = self.host.observe(&scope).await.map_err(unreachable)?;
        if record.phase != Phase::Active {
            return Ok(remove(&observed, record, &self.spec));
        }
        let application =
            application.ok_or_else(|| no_application(&record.tenant.spec.application))?;
        check(&record.tenant, application, &self.spec).map_err(misfit)?;
        let ports = self.ports(record, application, &observed, true).await?;
        let desired = self.desired(record, application, &ports, &observed)?;
        Ok(converge(&desired, &ports, &observed, record, &self.spec))
    }

    async fn active(&self, name: &TenantName, cancel: &CancellationToken) -> Again {
        if let Err(problem) = self.recover_deployed(name).await {
            return self.cannot_look(name, problem).await;
        }
        let operated = self.operate(name, cancel).await;
        let Some(mut record) = self.state.record(name) else {
            return Again::Gone;
        };
        let waiting = match operated {
            Operated::Interrupted => return Again::Backoff,
            Operated::Blocked(mut problem) => {
                if let Some(operation) = &record.operation {
                    let what = operation::under_way(operation).message;
                    problem.message = format!("{what}: {}", problem.message);
                }
                self.cannot_look(name, problem).await;
                return Again::After(operation::RETRY);
            }
            Operated::Halted => {
                let problem = operation::version_problem(&record);
                let findings = Findings {
                    problems: problem.into_iter().collect(),
                    ..Findings::default()
                };
                return match self.report(&record, &findings, &BTreeMap::new()).await {
                    true => Again::OnChange,
                    false => Again::Backoff,
                };
            }
            Operated::Waiting(problem) => Some(problem),
            Operated::Idle => None,
        };
        self.named_files.watch(&record, &self.spec.spec);
        let mut findings = Findings::default();
        for reason in self.state.refused(name) {
            findings.problems.push(Problem::new(
                Facet::Manifest,
                ProblemReason::Refused,
                reason,
            ));
        }
        let version = waiting.or_else(|| operation::version_problem(&record));
        findings.problems.extend(version);
        let effective = record.effective().unwrap_or_else(|| record.tenant.clone());
        let application = self.state.application(&effective.spec.application);
        let application =
            application.map(|known| record.application_for(&effective.spec, &known.application));
        record.tenant = effective;
        let brought = self
            .bring_about(&record, application.as_ref(), &mut findings, cancel)
            .await;
        let isolated = self.isolate(name).await;
        findings.observed.isolated = isolated.as_ref().is_ok_and(|enforced| *enforced);
        let retry = isolated.is_err() || *brought.as_ref().unwrap_or(&true);
        findings
            .problems
            .extend([brought.err(), isolated.err()].into_iter().flatten());
        if cancel.is_cancelled() {
            return Again::Backoff;
        }
        let Some(record) = self.state.record(name) else {
            return Again::Gone;
        };
        self.disks.note(&record);
        let mut again = if retry {
            Again::Backoff
        } else {
            Again::OnChange
        };
        if let Some(next) = self.next_backup(&record)
            && again == Again::OnChange
        {
            again = Again::After(next);
        }
        let mut health = BTreeMap::new();
        self.proxy_running(&mut findings);
        if let Some(desired) = &findings.desired {
            let ready = self
                .readiness
                .judge(&*self.host, desired, &findings.observed, Duration::MAX)
                .await;
            health = ready.health;
            self.rounds.enter(name, ready.well);
            findings.problems.extend(ready.problems);
            let later = [ready.again, findings.paused].into_iter().flatten().min();
            again = match (again, later) {
                (Again::OnChange, Some(after)) => Again::After(after),
                (Again::After(next), Some(after)) => Again::After(next.min(after)),
                (again, _) => again,
            };
        }
        self.look_at_schema(&record, &mut findings, health.values());
        self.want_certificate(&record, &findings);
        match self.report(&record, &findings, &health).await {
            true => again,
            false => Again::Backoff,
        }
    }

    /// Plans and executes until nothing is left to do. Returns whether
    /// something is left for a later try.
    async fn bring_about(
        &self,
        record: &Record,
        application: Option<&Application>,
        findings: &mut Findings,
        cancel: &CancellationToken,
    ) -> Result<bool, Problem> {
        let name = record.name();
        let scope = Scope::of(record, application, &self.spec);
        findings.observed = self.host.observe(&scope).await.map_err(unreachable)?;
        self.readiness.note_running(name, &findings.observed);
        let application =
            application.ok_or_else(|| no_application(&record.tenant.spec.application))?;
        check(&record.tenant, application, &self.spec).map_err(misfit)?;
        let ports = self
            .ports(record, application, &findings.observed, false)
            .await?;
        let effective = &record.tenant;
        for round in 0.. {
            // The record changes with each round.
            let Some(mut record) = self.state.record(name) else {
                return Ok(false);
            };
            effective.clone_into(&mut record.tenant);
            let desired = self.desired(&record, application, &ports, &findings.observed)?;
            self.readiness
                .mark_backing_off(&desired, &mut findings.observed);
            self.readiness
                .mark_settled(&desired, &mut findings.observed);
            findings.plan = converge(&desired, &ports, &findings.observed, &record, &self.spec);
            findings.paused = self.drifts.hold(name, &mut findings.plan);
            self.readiness.note_starts(name, &findings.plan);
            let digest = desired.digest();
            findings.desired = Some(desired);
            if findings.plan.to_execute().is_empty() {
                if findings.plan.is_empty() && record.applied.as_ref() != Some(&digest) {
                    let applied = self
                        .state
                        .update(name, |record| record.applied = Some(digest))
                        .await;
                    applied.map_err(not_saved)?;
                }
                break;
            }
            self.note_deployed(&record, application, &findings.plan)
                .await?;
            self.note_applying(&record, &findings.plan).await?;
            if round == MAX_ROUNDS {
                // Something undoes what is done; the back-off keeps it calm.
                let steps: Vec<_> = findings
                    .plan
                    .steps
                    .iter()
                    .map(|s| s.action.to_string())
                    .collect();
                let message = format!("this is undone again and again: {}", steps.join("; "));
                findings.problems.push(Problem::new(
                    Facet::Prepared,
                    ProblemReason::Fought,
                    message,
                ));
                return Ok(true);
            }
            let done = self
                .apply(name, &findings.plan, findings.observed.i360, cancel)
                .await;
            findings.observed = self.host.observe(&scope).await.map_err(unreachable)?;
            if done.cancelled {
                return Ok(true);
            }
            self.note_corrected(name, &findings.plan, &done.problems)
                .await;
            if !done.problems.is_empty() {
                findings.problems.extend(done.problems);
                findings.problems.extend(blocked(&findings.plan));
                self.shared_database(&record, findings);
                return Ok(true);
            }
        }
        findings.problems.extend(blocked(&findings.plan));
        self.shared_database(record, findings);
        Ok(findings
            .plan
            .blocked
            .iter()
            .any(|blocked| !waits_elsewhere(blocked.reason)))
    }

    /// A tenant whose record was lost runs what its units say.
    async fn recover_deployed(&self, name: &TenantName) -> Result<(), Problem> {
        let known = |mut all: MutexGuard<'_, BTreeMap<_, Version>>| all.remove(name);
        let version = known(
            self.recovered
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let Some(version) = version else {
            return Ok(());
        };
        let recover = |record: &mut Record| {
            if record.deployed.is_none() {
                let mut spec = record.tenant.spec.clone();
                spec.version = version;
                record.deployed = Some(Box::new(spec));
            }
        };
        let recovered = self.state.update(name, recover).await;
        recovered.map(drop).map_err(not_saved)
    }

    /// Records what the tenant is being brought to, before it is: another
    /// version is reached by an upgrade from it.
    async fn note_deployed(
        &self,
        record: &Record,
        application: &Application,
        plan: &Plan,
    ) -> Result<(), Problem> {
        let held = plan.hold.is_some() || !plan.blocked.is_empty();
        if held || record.operation.is_some() {
            return Ok(());
        }
        let spec = record.tenant.spec.clone();
        let application = application.spec.without_versions();
        // Nothing is saved if it is so already.
        let noted = self.state.update(record.name(), |r| {
            r.deployed = Some(Box::new(spec));
            r.deployed_application = Some(Box::new(application));
        });
        noted.await.map(drop).map_err(not_saved)
    }

    /// When the next scheduled backup is due.
    fn next_backup(&self, record: &Record) -> Option<Duration> {
        let policy = &record.tenant.spec.database.backup;
        let policy = policy.or(&self.spec.spec.defaults.backup);
        let when = cb_core::operation::next_backup(record, &policy)?;
        let wait = when.duration_since(jiff::Timestamp::now());
        Some(Duration::try_from(wait).unwrap_or(Duration::from_secs(1)))
    }

    /// The tenant's ports: what it has, or what it is given now. With
    /// `preview`, nothing is reserved that a pass would not reserve too.
    async fn ports(
        &self,
        record: &Record,
        application: &Application,
        observed: &Observed,
        preview: bool,
    ) -> Result<Ports, Problem> {
        let services = &application.spec.services;
        if let Some(ports) = self.ledger.settled(record, services) {
            return Ok(ports);
        }
        let in_use = self.host.ports_in_use().await.map_err(unreachable)?;
        let range = &self.spec.spec.ports;
        let uid = observed.user.map(|user| user.uid);
        let request = Request {
            range,
            services,
            uid,
        };
        let applications = self.state.applications();
        let services_of = |record: &Record| {
            let known = applications.get(&record.tenant.spec.application)?;
            Some(known.application.spec.services.as_slice())
        };
        let given = self.state.with_records(|all| {
            if preview {
                return self.ledger.preview(record, request, all, &in_use);
            }
            let name = record.name();
            self.ledger
                .give_those_before(name, range, all, services_of, &in_use);
            self.ledger.give(record, request, all, &in_use)
        });
        given.map_err(|error| {
            let reason = match error {
                PortError::FixedHeld { .. } => ProblemReason::PortTaken,
                PortError::Exhausted { .. } => ProblemReason::PortsExhausted,
            };
            Problem::new(Facet::Ports, reason, error.to_string())
        })
    }

    fn desired(
        &self,
        record: &Record,
        application: &Application,
        ports: &Ports,
        observed: &Observed,
    ) -> Result<Desired, Problem> {
        let inputs = Inputs {
            tenant: &record.tenant,
            application,
            host: &self.spec,
            ports,
            secrets: &observed.secrets,
            certificates: &observed.certificates,
        };
        Desired::of(inputs).map_err(misfit)
    }

    /// A certificate is ordered once the site is live: the authority asks it.
    fn want_certificate(&self, record: &Record, findings: &Findings) {
        let Some(acme) = &self.acme else {
            return;
        };
        let spec = &record.tenant.spec;
        let wanted = spec.tls.as_ref().is_some_and(|tls| tls.acme) && !spec.domains.is_empty();
        let open = |step: &Step| step.aspect == Aspect::Proxy;
        let live = findings.desired.is_some()
            && !findings.plan.steps.iter().any(open)
            && !findings.problems.iter().any(|of| of.facet == Facet::Proxy);
        let domains = (wanted && live && !spec.suspend).then_some(spec.domains.as_slice());
        acme.want(record.name(), domains);
    }

    /// A site is of no use while nginx does not run; starting nginx is not the
    /// operator's to decide.
    fn proxy_running(&self, findings: &mut Findings) {
        let wants = findings
            .desired
            .as_ref()
            .is_some_and(|desired| desired.site.is_some());
        let told = findings
            .problems
            .iter()
            .any(|problem| problem.facet == Facet::Proxy);
        if wants && !told && !findings.observed.proxy_running {
            let unit = &self.spec.spec.nginx.unit;
            let message = format!("{unit} does not run; start it with `systemctl start {unit}`");
            findings.problems.push(Problem::new(
                Facet::Proxy,
                ProblemReason::NginxNotRunning,
                message,
            ));
        }
    }

    fn shared_database(&self, record: &Record, findings: &mut Findings) {
        if !record.tenant.spec.database.i360 || findings.observed.i360 {
            return;
        }
        let (reason, message) = match i360_of(&record.tenant, &self.spec) {
            Some(path) => (
                ProblemReason::Missing,
                format!("the i360 database {path} is not there (sharedServices.i360 of the Host)"),
            ),
            None => (
                ProblemReason::NotConfigured,
                "spec.database.i360 is set, but the Host has no sharedServices.i360".into(),
            ),
        };
        findings
            .problems
            .push(Problem::new(Facet::SharedDatabase, reason, message));
    }
}

/// Whether trying again is nothing to hurry for: a crash loop has its own time,
/// see `Readiness`, and that a disk is no longer full is told.
fn waits_elsewhere(reason: ProblemReason) -> bool {
    matches!(
        reason,
        ProblemReason::CrashLoop | ProblemReason::DiskLimitReached
    )
}

#[cfg(test)]
mod tests;
