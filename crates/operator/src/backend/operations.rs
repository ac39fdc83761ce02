//! Upgrades, backups and restores, as far as they are asked for: the wish is
//! recorded, the manifest changed, the tenant woken. The next pass begins what
//! is due.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cb_core::api::{Application, TenantStatus};
use cb_core::backup::{Backup, is_bad};
use cb_core::database::{Database, Job, JobError, JobFailure, Progress};
use cb_core::operation::{Phase, Wish};
use cb_core::record::Record;
use cb_core::types::{BackupId, TenantName};
use cb_offsite::Entry;

use super::manifest::{Change, Edit};
use super::source;
use super::target::Target;
use super::wishes::{self, Way};
use crate::api::{Asked, Operations, Problem, ProblemKind, Refusal, Restore, Upgrade, Verdict};
use crate::catalog::real_folder;
use crate::controller::Reason;
use crate::daemon::Daemon;
use crate::offsite::CopyError;

#[async_trait]
impl<H: cb_host::Host + 'static> Operations for Daemon<H> {
    async fn upgrade(&self, tenant: &TenantName, wish: Upgrade) -> Result<Asked, Problem> {
        let _turn = self.writing.lock().await;
        self.move_to(tenant, wish).await
    }

    async fn retry(&self, tenant: &TenantName) -> Result<Asked, Problem> {
        let _turn = self.writing.lock().await;
        let before = self.known(tenant)?;
        let mut tried = before.clone();
        if !tried.retry(&crate::now()) {
            let detail = format!("nothing of tenant `{tenant}` failed that could be tried again");
            return Err(Problem::new(ProblemKind::NothingFailed, detail));
        }
        let now = |record: &mut Record| {
            record.operation = tried.operation;
            record.failed = tried.failed;
            record.request = tried.request;
        };
        self.change(&before, now).await?;
        Ok(self.woken(&before))
    }

    async fn back_up(&self, tenant: &TenantName) -> Result<Asked, Problem> {
        let _turn = self.writing.lock().await;
        let before = self.known(tenant)?;
        wishes::can_begin_here(&before, false)?;
        self.ask(&before, Wish::Backup { scheduled: false }).await?;
        Ok(self.woken(&before))
    }

    async fn restore(&self, tenant: &TenantName, wish: Restore) -> Result<Asked, Problem> {
        let _turn = self.writing.lock().await;
        let before = self.known(tenant)?;
        let backup = self.named(&before, &wish.backup).await?;
        match wishes::restore(&before, &wish, &backup)? {
            Some(upgrade) => self.move_to(tenant, upgrade).await,
            None => {
                let backup = wish.backup;
                self.ask(&before, Wish::Restore { backup }).await?;
                Ok(self.woken(&before))
            }
        }
    }

    async fn backups(&self, tenant: &TenantName) -> Result<Vec<Backup>, Problem> {
        let record = self.known(tenant)?;
        let (database, _) = self.database(&record)?;
        let listed = self.engine.host.backups(&database).await;
        let mut backups =
            listed.map_err(|error| Problem::new(ProblemKind::Unavailable, error.to_string()))?;
        backups.sort_by(|a, b| (&b.created, &b.id).cmp(&(&a.created, &a.id)));
        Ok(backups)
    }

    async fn delete_backup(
        &self,
        tenant: &TenantName,
        backup: &BackupId,
        force: bool,
    ) -> Result<(), Problem> {
        // No operation that needs it is asked for meanwhile.
        let _turn = self.writing.lock().await;
        let record = self.known(tenant)?;
        let backups = self.backups(tenant).await?;
        if backups.iter().all(|known| known.id != *backup) {
            return Err(no_such(tenant, backup));
        }
        wishes::delete(&record, &backups, backup, force)?;
        let (database, _) = self.database(&record)?;
        match self.engine.host.delete_backup(&database, backup).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(no_such(tenant, backup)),
            Err(error) => {
                let kind = match error.transient {
                    true => ProblemKind::Unavailable,
                    false => ProblemKind::Internal,
                };
                Err(Problem::new(kind, error.message))
            }
        }
    }

    async fn verify_backup(
        &self,
        tenant: &TenantName,
        backup: &BackupId,
    ) -> Result<Verdict, Problem> {
        let record = self.known(tenant)?;
        let backups = self.backups(tenant).await?;
        if backups.iter().all(|known| known.id != *backup) {
            return Err(no_such(tenant, backup));
        }
        // Beside one that is halted nothing works on the database.
        let running = record.operation.as_ref();
        if let Some(operation) = running.filter(|operation| operation.phase != Phase::Halted) {
            let detail = format!(
                "the {operation} ({}) is under way, and a database is worked on by one at a time",
                operation.id
            );
            return Err(Problem::new(ProblemKind::OperationUnderWay, detail));
        }
        let (database, _) = self.database(&record)?;
        let silent: Progress = Arc::new(|_| {});
        let job = Job::Verify(backup.clone());
        match self.engine.host.database(&database, &job, &silent).await {
            Ok(_) => Ok(Verdict::Good),
            Err(error) => verdict(error),
        }
    }

    async fn copies(&self, tenant: &TenantName) -> Result<Option<Vec<Entry>>, Problem> {
        let Some(offsite) = &self.engine.offsite else {
            return Ok(None);
        };
        // Somebody waits for the list, most of which is known.
        let listed = tokio::time::timeout(LISTING, offsite.list(tenant)).await;
        let listed = listed.map_err(|_| {
            let detail = "the copies off the host cannot be listed in time";
            Problem::new(ProblemKind::Unavailable, detail)
        })?;
        listed
            .map(Some)
            .map_err(|error| not_fetched(tenant, &error))
    }

    async fn fetch_backup(&self, tenant: &TenantName, backup: &BackupId) -> Result<bool, Problem> {
        let offsite = self.engine.offsite.as_ref().ok_or_else(|| {
            let detail = "the Host names no destination of copies; set spec.backups.offsite and start the operator again";
            Problem::new(ProblemKind::NoDestination, detail)
        })?;
        let backups = self.backups(tenant).await?;
        if backups.iter().any(|known| known.id == *backup) {
            return Ok(false);
        }
        let fetched = offsite.fetch(tenant, backup).await;
        fetched.map_err(|error| not_fetched(tenant, &error))?;
        Ok(true)
    }
}

/// How long copies off the host are waited for when somebody asks for a list.
const LISTING: Duration = Duration::from_secs(10);

fn not_fetched(tenant: &TenantName, error: &CopyError) -> Problem {
    let words = error.words();
    let (kind, detail) = match error {
        CopyError::There(cb_offsite::Error::NotFound { .. }) => (ProblemKind::NoSuchBackup, words),
        CopyError::There(cb_offsite::Error::Exists { path }) => {
            let path = path.display();
            let detail =
                format!("{path} is there and is no whole backup of `{tenant}`; move it away first");
            (ProblemKind::Unavailable, detail)
        }
        CopyError::There(cb_offsite::Error::Damaged { .. }) => (ProblemKind::Internal, words),
        _ => (ProblemKind::Unavailable, words),
    };
    Problem::new(kind, detail)
}

/// What is wrong with the backup is an answer; what kept it from being judged
/// is none.
fn verdict(error: JobError) -> Result<Verdict, Problem> {
    if is_bad(error.failure) {
        return Ok(Verdict::Bad {
            reason: error.failure.as_str().to_owned(),
            message: error.message,
        });
    }
    let kind = match error.failure {
        JobFailure::Transient | JobFailure::Locked | JobFailure::NoSpace => {
            ProblemKind::Unavailable
        }
        _ => ProblemKind::Internal,
    };
    Err(Problem::new(kind, error.message))
}

fn no_such(tenant: &TenantName, backup: &BackupId) -> Problem {
    let detail = format!("tenant `{tenant}` has no backup `{backup}`");
    Problem::new(ProblemKind::NoSuchBackup, detail)
}

impl<H: cb_host::Host + 'static> Daemon<H> {
    /// Forgets wishes whose manifests were not written before the last end of
    /// the operator. To be called when the manifests were read.
    pub async fn forget_lost_wishes(&self) {
        let _turn = self.writing.lock().await;
        let state = &self.engine.state;
        let lost: Vec<TenantName> = state.with_records(|records| {
            let lost = records.values().filter(|record| wishes::is_lost(record));
            lost.map(|record| record.name().clone()).collect()
        });
        for tenant in lost {
            let forgotten = state.update(&tenant, |record| record.request = None).await;
            if let Err(error) = forgotten {
                tracing::warn!(%tenant, "{error}");
            }
        }
    }

    fn known(&self, tenant: &TenantName) -> Result<Record, Problem> {
        self.engine.state.record(tenant).ok_or_else(|| {
            Problem::new(
                ProblemKind::NotFound,
                format!("tenants \"{tenant}\" not found"),
            )
        })
    }

    /// The tenant's database, and the Application that says where it is.
    fn database(&self, record: &Record) -> Result<(Database, Application), Problem> {
        let known = self.engine.state.database(record, &self.engine.spec);
        known.map_err(|name| {
            let detail = format!("there is no Application `{name}` in the folder of manifests");
            Problem::new(ProblemKind::NotOperable, detail)
        })
    }

    /// The backup that a request names.
    async fn named(&self, record: &Record, id: &BackupId) -> Result<Backup, Problem> {
        let tenant = record.name();
        let found = self.backups(tenant).await?.into_iter();
        found
            .into_iter()
            .find(|backup| backup.id == *id)
            .ok_or_else(|| {
                let mut detail = format!("tenant `{tenant}` has no backup `{id}`");
                if self.engine.offsite.is_some() {
                    detail += &format!(
                        " on the host; `cbctl backup fetch {tenant} {id}` brings it from off the host if it has a copy"
                    );
                }
                Problem::new(ProblemKind::UnknownBackup, detail)
            })
    }

    /// Brings the tenant to another version. The wish is recorded before the
    /// manifest asks for the version: they take effect together.
    async fn move_to(&self, tenant: &TenantName, wish: Upgrade) -> Result<Asked, Problem> {
        // What was committed a moment ago counts.
        self.look_at_manifests().await;
        let before = self.known(tenant)?;
        let (_, application) = self.database(&before)?;
        let backup = match &wish.restore {
            Some(id) => Some(self.named(&before, id).await?),
            None => None,
        };
        let status = self.engine.state.status(tenant);
        let ready = |status: &TenantStatus| status.condition("Ready").cloned();
        let ready = status.as_deref().and_then(ready);
        let asked = (&wish, backup.as_ref());
        let way = wishes::upgrade(&before, &application, ready.as_ref(), asked)?;
        let edit = match way {
            Way::AsItIs => None,
            Way::Changed | Way::BackInName => Some(self.edit(&before, &wish).await?),
        };
        if way != Way::BackInName {
            let wish = Wish::Upgrade {
                version: wish.target.clone(),
                backup: wish.backup,
                migrate: wish.migrate,
                restore: wish.restore,
            };
            self.ask(&before, wish).await?;
        }
        if let Some(edit) = edit {
            if let Err(problem) = self.write_edit(edit).await {
                self.take_back(&before).await;
                return Err(problem);
            }
            self.look_at_manifests().await;
        }
        if way == Way::BackInName {
            return Ok(Asked::NotNeeded(format!(
                "the manifest asks for {} again, which the tenant runs: nothing is to be done",
                wish.target
            )));
        }
        Ok(self.woken(&before))
    }

    /// The manifest with the version, if it would be taken.
    async fn edit(&self, record: &Record, wish: &Upgrade) -> Result<Edit, Problem> {
        // On a Host that follows a repository it is a link to a commit.
        let root = real_folder(&self.manifests.to_string_lossy());
        let manifests = self.catalog.manifests();
        let (tenant, version) = (record.name().clone(), wish.target.clone());
        let last = record.file.clone();
        let edit = tokio::task::spawn_blocking(move || {
            let change = Change {
                tenant: &tenant,
                version: &version,
                last: &last,
            };
            Edit::of(&root, &manifests, change)
        });
        let edit = edit
            .await
            .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))??;
        let target = Target {
            path: edit.file.clone(),
            current: None,
            refused: false,
            shared: None,
        };
        let judged = self.admissible(&target, &edit.parsed, (&edit.object, super::in_text));
        judged.map_err(|refusal| {
            let detail = match refusal {
                Refusal::Invalid(causes) => {
                    let causes: Vec<String> = causes.into_iter().map(|c| c.message).collect();
                    causes.join("; ")
                }
                refusal => refusal.to_string(),
            };
            Problem::new(ProblemKind::Invalid, detail)
        })?;
        if let Some(source) = self.source.get() {
            source::may_commit_version(source, &edit.file, record.name(), &wish.target)?;
        }
        Ok(edit)
    }

    async fn write_edit(&self, edit: Edit) -> Result<(), Problem> {
        if let Some(source) = self.source.get() {
            return self.commit_edit(source, edit).await;
        }
        let written = tokio::task::spawn_blocking(move || edit.write()).await;
        written.unwrap_or_else(|error| Err(Problem::new(ProblemKind::Internal, error.to_string())))
    }

    async fn ask(&self, before: &Record, wish: Wish) -> Result<(), Problem> {
        let now = crate::now();
        self.change(before, |record| wishes::ask(record, wish, &now))
            .await
    }

    /// Changes a record that is still as it was judged, so far as it matters
    /// to operations.
    async fn change(
        &self,
        before: &Record,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), Problem> {
        let mut same = false;
        let changed = self.engine.state.update(before.name(), |record| {
            same = is_same(record, before);
            if same {
                change(record);
            }
        });
        if let Err(error) = changed.await {
            self.take_back(before).await;
            return Err(Problem::new(ProblemKind::Internal, error.to_string()));
        }
        if same {
            return Ok(());
        }
        let detail = format!(
            "something of tenant `{}` began or ended at this moment; ask again",
            before.name()
        );
        Err(Problem::new(ProblemKind::OperationUnderWay, detail))
    }

    /// Makes the record as it was before a wish that could not be carried out,
    /// if nothing has begun meanwhile.
    async fn take_back(&self, before: &Record) {
        let undone = self.engine.state.update(before.name(), |record| {
            if record.operations == before.operations {
                record.request.clone_from(&before.request);
                record.operation.clone_from(&before.operation);
                record.history.clone_from(&before.history);
                record.failed.clone_from(&before.failed);
            }
        });
        if let Err(error) = undone.await {
            tracing::warn!(tenant = %before.name(), "{error}");
        }
    }

    /// Has the tenant looked at, and says whether something has begun already.
    fn woken(&self, before: &Record) -> Asked {
        let tenant = before.name();
        self.controller.urgent(tenant.clone(), Reason::Requested);
        let now = self.engine.state.record(tenant);
        let operation = now.and_then(|record| record.operation);
        // One that is halted waits to be replaced by what was asked for.
        let operation = operation.filter(|operation| operation.phase != Phase::Halted);
        operation.map_or(Asked::Pending, |operation| Asked::Begun(operation.id))
    }
}

fn is_same(record: &Record, before: &Record) -> bool {
    record.phase == before.phase
        && record.operations == before.operations
        && record.operation == before.operation
        && record.request == before.request
        && record.failed == before.failed
        && record.deployed == before.deployed
}
