//! The work of each phase.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cb_core::api::{Application, Tenant, TenantSpec};
use cb_core::database::BackupOrder;
use cb_core::database::{Database, Job, JobFailure, Migrate, Progress, Report};
use cb_core::desired::{Desired, check};
use cb_core::observed::{Observed, Scope};
use cb_core::operation::{Done, Failure, Found, Kind, Operation, Phase, Work};
use cb_core::plan::{Action, converge};
use cb_core::record::Record;
use cb_core::secret::{Opened, SecretSource};
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_host::{ActionError, Host};
use tokio_util::sync::CancellationToken;

use super::verify::{Requirement, Says, without_secrets};
use super::{Left, under_way};
use crate::tenant::problem::{misfit, no_application, unreachable};
use crate::tenant::{Engine, Findings};

/// How often the status shows how far a job is.
const SHOWN_EVERY: Duration = Duration::from_millis(250);

/// The values of secrets, by source.
pub(super) type Secrets = BTreeMap<SecretSource, Result<Opened, String>>;

impl<H: Host> Engine<H> {
    /// Does the work of the phase that is under way.
    pub(super) async fn work(
        &self,
        record: &Record,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Done, Left> {
        match operation.work() {
            Work::Prepare => self.prepare(record, operation).await,
            Work::Stop => self.stop_all(record, operation).await,
            Work::Checkpoint => self.checkpoint(record, operation).await,
            Work::BackUp(cause) => {
                let order = BackupOrder {
                    id: operation.backup_id.clone().ok_or(Left::Interrupted)?,
                    cause,
                    spec: operation.from.as_deref().unwrap_or(&operation.to).clone(),
                    schema_version: operation.found().schema_version,
                    even_damaged: operation.restore.is_some(),
                };
                self.job(record, operation, Job::Backup(order)).await?;
                Ok(Done::default())
            }
            Work::Migrate => self.migrate(record, operation).await,
            Work::Restore => {
                let backup = operation.restore.clone();
                self.restore(record, operation, backup).await
            }
            Work::PutBack => {
                let backup = operation.backup_id.clone();
                let backup = backup.filter(|_| operation.backed_up);
                self.restore(record, operation, backup).await
            }
            Work::Converge(_) => self.bring_to(record, operation, cancel).await,
            Work::Verify { spec, settle } => {
                self.verify(record, operation, (spec, settle), cancel).await
            }
            Work::Wait => Err(Left::Interrupted),
        }
    }

    /// Law 6: everything that can be found out beforehand is, while the old
    /// version serves.
    async fn prepare(&self, record: &Record, operation: &Operation) -> Result<Done, Left> {
        let to = with_spec(record, &operation.to);
        let application = self.application(record, operation, &operation.to)?;
        let fails = |problem: Problem| {
            Left::Failed(self.failure(operation, problem.reason.as_str(), problem.message))
        };
        check(&to.tenant, &application, &self.spec).map_err(|e| fails(misfit(e)))?;
        let scope = Scope::of(&to, Some(&application), &self.spec);
        let observed = self.host.observe(&scope).await;
        let observed = observed.map_err(|e| Left::Blocked(unreachable(e)))?;
        // Nothing is given yet: the old version keeps its ports if this fails.
        let ports = self.ports(&to, &application, &observed, true).await;
        let ports = ports.map_err(fails)?;
        let desired = self
            .desired(&to, &application, &ports, &observed)
            .map_err(fails)?;
        if let Some(blocked) = self.blocked(&desired, &ports, &observed, &to) {
            return Err(fails(blocked));
        }
        if !observed.release {
            let action = Action::InstallRelease(Box::new(desired.release.clone()));
            self.act(operation, record, &action).await?;
        }
        if let Some(backup) = &operation.restore {
            self.has_backup(record, operation, backup).await?;
        }
        let restores = operation.restore.is_some();
        let migrate = Migrate::of(&application, &operation.to.version, &self.spec)
            .filter(|_| operation.migrate && !restores);
        let job = Job::Check {
            migrate,
            schema_version: record.schema_version,
            backup: operation.backup,
        };
        let report = self.job(record, operation, job).await?;
        if !operation.backup && report.pending.is_some_and(|pending| pending > 0) {
            let message = "there are migrations to apply, and nothing is migrated without a backup: ask for the upgrade with one";
            return Err(Left::Failed(self.failure(
                operation,
                "BackupRequired",
                message,
            )));
        }
        Ok(Done::default())
    }

    /// What would keep the new version from being started, and is not about
    /// what runs now.
    fn blocked(
        &self,
        desired: &Desired,
        ports: &cb_core::record::Ports,
        observed: &Observed,
        record: &Record,
    ) -> Option<Problem> {
        let plan = converge(desired, ports, observed, record, &self.spec);
        let blocked = plan
            .blocked
            .iter()
            .find(|blocked| blocked.reason != ProblemReason::CrashLoop)?;
        let facet = Facet::of_aspect(blocked.aspect);
        Some(Problem::new(facet, blocked.reason, blocked.message.clone()))
    }

    async fn has_backup(
        &self,
        record: &Record,
        operation: &Operation,
        id: &cb_core::types::BackupId,
    ) -> Result<(), Left> {
        let database = self.database(record, operation)?;
        let backups = self.host.backups(&database).await;
        let backups = backups.map_err(|e| Left::Blocked(unreachable(e)))?;
        let fails = |reason: &'static str, message: String| {
            Err(Left::Failed(self.failure(operation, reason, message)))
        };
        let Some(backup) = backups.iter().find(|backup| backup.id == *id) else {
            return fails(
                "NoSuchBackup",
                format!(
                    "there is no backup {id} of {}; `cbctl backup list` shows those there are",
                    record.name()
                ),
            );
        };
        let wanted = &operation.to;
        if backup.application != wanted.application || backup.version != wanted.version {
            return fails(
                "BackupDoesNotFit",
                format!(
                    "backup {id} is of {} {}, and the tenant is to run {} {}: a database is restored with the version that it was made with",
                    backup.application, backup.version, wanted.application, wanted.version
                ),
            );
        }
        Ok(())
    }

    /// Stops every service, and keeps them from being started by a boot:
    /// nothing but the operator may touch the database now.
    async fn stop_all(&self, record: &Record, operation: &Operation) -> Result<Done, Left> {
        let application = self.application(record, operation, &operation.to).ok();
        let scope = Scope::of(record, application.as_ref(), &self.spec);
        let observed = self.host.observe(&scope).await;
        let observed = observed.map_err(|e| Left::Blocked(unreachable(e)))?;
        let order: Vec<&str> = application
            .iter()
            .flat_map(|a| a.spec.services.iter().map(|s| s.name.as_str()))
            .collect();
        let place = |unit: &str| {
            let service = |s: &&str| cb_core::layout::unit_name(record.name(), s) == unit;
            order.iter().position(service)
        };
        let mut units: Vec<String> = scope.units.union(&observed.owned_units).cloned().collect();
        // Last service first.
        units.sort_by_key(|unit| std::cmp::Reverse(place(unit)));
        let enabled: Vec<String> = units
            .iter()
            .filter(|unit| observed.enabled.contains(*unit))
            .cloned()
            .collect();
        if !enabled.is_empty() {
            self.act(operation, record, &Action::Disable(enabled))
                .await?;
        }
        for unit in units {
            let state = observed.units.get(&unit);
            if state.is_some_and(|s| !matches!(s.active_state.as_str(), "inactive" | "failed")) {
                self.act(operation, record, &Action::Stop(unit)).await?;
            }
        }
        Ok(Done::default())
    }

    async fn checkpoint(&self, record: &Record, operation: &Operation) -> Result<Done, Left> {
        match self.job(record, operation, Job::Checkpoint).await {
            Ok(report) => {
                let found = Found {
                    exists: report.exists,
                    schema_version: report.schema_version.or(record.schema_version),
                };
                self.remember_schema(record, found.schema_version).await?;
                let database = Some(found);
                Ok(Done { database })
            }
            Err(Left::Failed(failure)) if failure.reason == "WalDoesNotReplay" => {
                // Law 9: it is kept as it is, with its database.
                let keep_as = operation.keep_as();
                let job = Job::Quarantine { keep_as };
                self.job(record, operation, job).await?;
                Err(Left::Failed(failure))
            }
            Err(left) => Err(left),
        }
    }

    async fn migrate(&self, record: &Record, operation: &Operation) -> Result<Done, Left> {
        let application = self.application(record, operation, &operation.to)?;
        if let Some(migrate) = Migrate::of(&application, &operation.to.version, &self.spec) {
            let report = self.job(record, operation, Job::Migrate(migrate)).await?;
            self.remember_schema(record, report.schema_version).await?;
        }
        Ok(Done::default())
    }

    async fn restore(
        &self,
        record: &Record,
        operation: &Operation,
        backup: Option<cb_core::types::BackupId>,
    ) -> Result<Done, Left> {
        let keep_as = operation.keep_as();
        let job = Job::Restore { backup, keep_as };
        let report = self.job(record, operation, job).await?;
        self.remember_schema(record, report.schema_version).await?;
        Ok(Done::default())
    }

    async fn remember_schema(&self, record: &Record, version: Option<i64>) -> Result<(), Left> {
        if version.is_none() || version == record.schema_version {
            return Ok(());
        }
        let saved = self
            .state
            .update(record.name(), |r| r.schema_version = version)
            .await;
        let blocked = |e| Left::Blocked(super::not_saved(e));
        saved.map(drop).map_err(blocked)
    }

    /// Makes everything as the side says that the record is on now, and starts
    /// the services.
    async fn bring_to(
        &self,
        record: &Record,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Done, Left> {
        let Some(effective) = record.effective() else {
            return Ok(Done::default());
        };
        let tenant = Record {
            tenant: effective,
            ..record.clone()
        };
        let application = self.application(record, operation, &tenant.tenant.spec)?;
        if operation.is_going_back() && !operation.ports.is_empty() {
            self.ledger.put_back(record.name(), &operation.ports);
        }
        let mut findings = Findings::default();
        let done = self
            .bring_about(&tenant, Some(&application), &mut findings, cancel)
            .await;
        if cancel.is_cancelled() {
            return Err(Left::Interrupted);
        }
        if let Err(problem) = done {
            findings.problems.push(problem);
        }
        // nginx is not what is upgraded: what is wrong with it is told by the
        // pass after this, and does not undo the upgrade.
        let mut problems = findings
            .problems
            .into_iter()
            .filter(|problem| !matches!(problem.facet, Facet::Proxy | Facet::SharedDatabase));
        match problems.next() {
            None => Ok(Done::default()),
            // Nor is a disk that has no room for records just now.
            Some(problem) if problem.passing || problem.reason == ProblemReason::RecordNotSaved => {
                Err(Left::Blocked(problem))
            }
            Some(problem) => {
                let services = findings.desired.iter().flat_map(|d| &d.services);
                let mut units = services.map(|service| service.unit.clone());
                let first = units.clone().next().unwrap_or_default();
                let named = units.find(|unit| problem.message.contains(unit.as_str()));
                let unit = named.unwrap_or(first);
                let reason = problem.reason;
                let mut failure = self
                    .service_failure(
                        operation,
                        // What was seen of it is from before the start.
                        (&unit, None),
                        "StartFailed",
                        Some(problem.message),
                        &findings.observed,
                    )
                    .await;
                failure.reason = reason.to_string();
                Err(Left::Failed(failure))
            }
        }
    }

    async fn verify(
        &self,
        record: &Record,
        operation: &Operation,
        (spec, settle): (&TenantSpec, bool),
        cancel: &CancellationToken,
    ) -> Result<Done, Left> {
        let side = with_spec(record, spec);
        let application = self.application(record, operation, spec)?;
        let scope = Scope::of(&side, Some(&application), &self.spec);
        let observed = self.host.observe(&scope).await;
        let observed = observed.map_err(|e| Left::Blocked(unreachable(e)))?;
        let fails = |problem: Problem| {
            Left::Failed(self.failure(operation, problem.reason.as_str(), problem.message))
        };
        let desired = self
            .desired(&side, &application, &record.ports, &observed)
            .map_err(fails)?;
        let settling = Duration::from_secs(self.spec.spec.operations.settle_seconds.into());
        let says = match (operation.kind, operation.is_going_back()) {
            (Kind::Upgrade, false) => Says::This(&spec.version),
            (Kind::Upgrade, true) if operation.to.version != spec.version => {
                Says::AnyBut(&operation.to.version)
            }
            _ => Says::Any,
        };
        let requirement = Requirement {
            desired: &desired,
            says,
            scope: &scope,
            settle: if settle { settling } else { Duration::ZERO },
            strict: !operation.is_going_back() && operation.kind != Kind::Backup,
        };
        self.require(operation, requirement, cancel).await?;
        Ok(Done::default())
    }

    /// Does one action; one that fails for now is tried again later.
    async fn act(&self, operation: &Operation, of: &Record, action: &Action) -> Result<(), Left> {
        match self.host.execute(of.name(), action).await {
            Ok(_) => {
                self.metrics.acted(action);
                Ok(())
            }
            Err(error) => Err(self.left(operation, action, error)),
        }
    }

    fn left(&self, operation: &Operation, action: &Action, error: ActionError) -> Left {
        let message = format!("cannot {action}: {}", error.message);
        match error.transient {
            true => Left::Blocked(Problem::passing(Facet::Version, error.reason, message)),
            false => Left::Failed(self.failure(operation, error.reason.as_str(), message)),
        }
    }

    async fn job(&self, record: &Record, operation: &Operation, job: Job) -> Result<Report, Left> {
        let database = self.database(record, operation)?;
        let secrets = self.secrets(record, operation).await?;
        let progress = self.progress(record, operation, secrets.clone());
        let done = self.host.database(&database, &job, &progress).await;
        done.map_err(|error| match error.failure {
            JobFailure::Transient => Left::Blocked(Problem::passing(
                Facet::Version,
                ProblemReason::HostUnreachable,
                error.message,
            )),
            _ => {
                let mut failure = Failure::of_job(operation.phase, error);
                for line in &mut failure.log {
                    *line = without_secrets(std::mem::take(line), &secrets);
                }
                Left::Failed(failure)
            }
        })
    }

    /// Shows how far a job is. A release's own program can print as much as it
    /// likes, so not every line is shown.
    fn progress(&self, record: &Record, operation: &Operation, secrets: Secrets) -> Progress {
        let (state, name) = (Arc::clone(&self.state), record.name().clone());
        let shown = under_way(operation);
        let last: Mutex<Option<Instant>> = Mutex::default();
        Arc::new(move |far: String| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < SHOWN_EVERY) {
                return;
            }
            *last = Some(Instant::now());
            let far = without_secrets(far, &secrets);
            state.show_progress(&name, &format!("{}: {far}", shown.message));
        })
    }

    /// Law 11: a release's own program gets the tenant's environment, and may
    /// print it.
    async fn secrets(&self, record: &Record, operation: &Operation) -> Result<Secrets, Left> {
        let mut scope = Scope::of(record, None, &self.spec);
        for spec in operation.from.iter().chain([&operation.to]) {
            scope.secrets.extend(SecretSource::all(spec));
        }
        let observed = self.host.observe(&scope).await;
        let observed = observed.map_err(|e| Left::Blocked(unreachable(e)))?;
        Ok(observed.secrets)
    }

    fn database(&self, record: &Record, operation: &Operation) -> Result<Database, Left> {
        // What reads the schema version is the release that knows the schema:
        // the old one, until the new one has migrated.
        let (from, to) = (operation.from.as_deref(), &*operation.to);
        let spec = match from {
            Some(from) if operation.phase == Phase::Migrating => {
                let is_same = from.application == to.application;
                if is_same { to } else { from }
            }
            from => from.unwrap_or(to),
        };
        let application = self.application(record, operation, spec)?;
        Ok(Database::of(
            record.name(),
            &application,
            &spec.version,
            &self.spec,
        ))
    }

    fn application(
        &self,
        record: &Record,
        operation: &Operation,
        spec: &TenantSpec,
    ) -> Result<Application, Left> {
        let known = self.state.application(&spec.application);
        let known = known.map(|known| record.application_for(spec, &known.application));
        known.ok_or_else(|| {
            let problem = no_application(&spec.application);
            Left::Failed(self.failure(operation, problem.reason.as_str(), problem.message))
        })
    }

    pub(super) fn failure(
        &self,
        operation: &Operation,
        reason: &str,
        message: impl Into<String>,
    ) -> Failure {
        Failure {
            phase: operation.phase,
            reason: reason.to_owned(),
            message: message.into(),
            log: Vec::new(),
        }
    }
}

/// The record as it would be with this spec.
fn with_spec(record: &Record, spec: &TenantSpec) -> Record {
    let spec = spec.clone().with_policies_of(&record.tenant.spec);
    let tenant = Tenant {
        spec,
        ..record.tenant.clone()
    };
    Record {
        tenant,
        ..record.clone()
    }
}
