//! Doing one action. Each guards what is not ours once more, because the host
//! may have changed since the plan was made (law 3).

use std::path::{Path, PathBuf};

use cb_core::desired::{Folder, FolderOwner, ManagedFile};
use cb_core::mark::Owner;
use cb_core::observed::{DROP_IN_FOLDERS, FOREIGN_UNIT_FOLDERS};
use cb_core::plan::Action;
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;

use super::{SystemHost, credentials};
use crate::disk;
use crate::files::{self, FileCache, FileError, FileSpec, chain};
use crate::nginx::{SiteChange, SiteError};
use crate::releases::ReleaseError;
use crate::systemd::{JOB_TIMEOUT, JobResult, SystemdError};
use crate::users::UsersError;
use crate::{ActionError, Done};

impl SystemHost {
    pub(super) async fn act(
        &self,
        tenant: &TenantName,
        action: &Action,
    ) -> Result<Done, ActionError> {
        match action {
            Action::EnsureUser { user, file } => {
                write_guarded(file, || Ok(())).await?;
                let made = self.users.ensure(user, &file.path).await?;
                return Ok(Done {
                    uid: Some(made.uid),
                    ..Done::default()
                });
            }
            Action::EnsureFolder { folder, user } => self.ensure_folder(folder, user).await?,
            Action::InstallRelease(release) => {
                let installed = self.releases.install(release).await;
                self.release_looks.forget(&release.path);
                installed?;
            }
            Action::WriteFile(file) => write_guarded(file, || Ok(())).await?,
            Action::WriteCredential(credential) => {
                self.write_credential(tenant, credential).await?;
            }
            Action::RemoveCredential(path) => self.remove_credential(tenant, path).await?,
            Action::WriteUnit(file) => write_guarded(file, self.units.will_change()).await?,
            Action::SetAside(path) => self.set_aside(tenant, path).await?,
            Action::Adopt(path) => self.adopt(tenant, path).await?,
            Action::RemoveUnit(path) => {
                remove_guarded(tenant, path, self.units.will_change()).await?;
            }
            Action::ReloadUnits => self.units.reload().await?,
            Action::Enable(units) => self.systemd.enable(units).await?,
            Action::Disable(units) => self.systemd.disable(units).await?,
            Action::Stop(unit) => {
                let result = self.systemd.stop(unit, JOB_TIMEOUT).await?;
                check_job(&result, "stop", unit)?;
            }
            Action::Start { unit, reset, .. } => return self.start_unit(unit, *reset).await,
            Action::WriteSite(file) => {
                let content = Some(file.content.clone().into_bytes());
                self.site(&file.path, content).await?;
            }
            Action::RemoveSite(path) => self.site(path, None).await?,
            Action::ArchiveData(name) => self.archive(name).await?,
            Action::RemoveFile(path) => remove_guarded(tenant, path, || Ok(())).await?,
            Action::RemoveUser(user) => self.users.remove(user).await?,
            Action::RecordPorts(_)
            | Action::RecordStale(_)
            | Action::RecordStarted { .. }
            | Action::RecordRetained
            | Action::RemoveRecord => {}
        }
        Ok(Done::default())
    }

    async fn ensure_folder(&self, folder: &Folder, user: &str) -> Result<(), ActionError> {
        let own = FileSpec::own(folder.mode);
        let spec = match folder.owner {
            FolderOwner::Root => own,
            FolderOwner::Tenant => {
                let user = self.users.get(user)?.ok_or_else(|| ActionError {
                    reason: ProblemReason::UserMissing,
                    message: format!(
                        "cannot make {}: there is no user {user}",
                        folder.path.display()
                    ),
                    transient: false,
                })?;
                FileSpec {
                    uid: user.uid,
                    gid: user.gid,
                    ..own
                }
            }
        };
        let path = folder.path.clone();
        blocking(move || Ok(files::ensure_dir(&path, spec)?)).await
    }

    async fn start_unit(&self, unit: &str, reset: bool) -> Result<Done, ActionError> {
        if reset {
            self.systemd.reset_failed(unit).await?;
        }
        let result = self.systemd.start(unit, JOB_TIMEOUT).await?;
        check_job(&result, "start", unit)?;
        let state = self.systemd.unit(unit);
        Ok(Done {
            invocation_id: state.and_then(|state| state.invocation_id),
            ..Done::default()
        })
    }

    async fn site(&self, path: &Path, content: Option<Vec<u8>>) -> Result<(), ActionError> {
        let sites = Path::new(self.spec.nginx.sites.as_str());
        let name = path.strip_prefix(sites).ok().and_then(Path::to_str);
        let name = name.ok_or_else(|| ActionError {
            reason: ProblemReason::Failed,
            message: format!("{} is not in {}", path.display(), sites.display()),
            transient: false,
        })?;
        let name = name.to_owned();
        Ok(self.nginx.submit(SiteChange { name, content }).await?)
    }

    /// Guards once more that it is a link, or a drop-in of a unit.
    async fn set_aside(&self, tenant: &TenantName, path: &Path) -> Result<(), ActionError> {
        let units = Path::new(self.spec.paths.units.as_str());
        let folder_of = path.parent().and_then(Path::parent);
        let is_drop_in = path
            .parent()
            .is_some_and(|folder| folder.extension().is_some_and(|extension| extension == "d"))
            && folder_of.is_some_and(|folder| {
                folder == units
                    || DROP_IN_FOLDERS
                        .iter()
                        .any(|known| folder == Path::new(known))
            });
        let concerns_units = is_drop_in
            || path.parent() == Some(units)
            || FOREIGN_UNIT_FOLDERS
                .iter()
                .any(|folder| path.starts_with(folder));
        if concerns_units {
            self.units.will_change()()?;
        }
        let (path, folder) = (path.to_owned(), self.layout().set_aside(tenant));
        blocking(move || {
            if !is_drop_in && !path.is_symlink() {
                return Err(conflict(&path));
            }
            files::set_aside(&path, &folder)?;
            Ok(())
        })
        .await
    }

    /// Guards once more that it carries nobody's mark.
    async fn adopt(&self, tenant: &TenantName, path: &Path) -> Result<(), ActionError> {
        if path.parent() == Some(Path::new(self.spec.paths.units.as_str())) {
            self.units.will_change()()?;
        }
        let (path, folder) = (path.to_owned(), self.layout().set_aside(tenant));
        blocking(move || {
            let marked = || FileCache::content(&path).map(|text| Owner::of(&text).is_some());
            if !path.is_symlink() && path.exists() && marked()? {
                return Err(conflict(&path));
            }
            files::set_aside(&path, &folder)?;
            Ok(())
        })
        .await
    }

    /// Moves the data and the `.env` into a new folder of the backups. Cut off
    /// in between, the rest goes into another one.
    async fn archive(&self, tenant: &TenantName) -> Result<(), ActionError> {
        let layout = self.layout();
        let (data, env_dir) = (layout.data(tenant), layout.env_dir(tenant));
        let env = layout.env_file(tenant);
        let secrets = layout.credentials(tenant);
        let backups = layout.backups().join(tenant.as_str());
        blocking(move || {
            let gone = |path: &Path| path.symlink_metadata().is_err();
            if gone(&data) && gone(&env_dir) {
                return Ok(());
            }
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
            let backup = backups.join(format!("deleted-{now}"));
            // First, so that a reason that lasts is not a new one at each try.
            files::ensure_dir(&backups, FileSpec::own(0o700))?;
            files::ensure_dir(&backup, FileSpec::own(0o700))?;
            // The folder of `.env` files is often on another file system.
            if !gone(&env) {
                let content = FileCache::content(&env)?;
                files::write(&backup.join(".env"), &content, FileSpec::own(0o600))?;
                files::remove(&env)?;
            }
            credentials::archive(&secrets, &backup.join("credentials"))?;
            files::move_dir(&data, &backup.join("data"))?;
            disk::leave(&backup.join("data"))?;
            match std::fs::remove_dir(&env_dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(FileError::io("remove the folder", &env_dir, error).into())
                }
                _ => Ok(()),
            }
        })
        .await
    }
}

/// File work does not hold up the other tenants' passes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ActionError> + Send + 'static,
) -> Result<T, ActionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ActionError {
            reason: ProblemReason::Failed,
            message: error.to_string(),
            transient: false,
        }),
    }
}

/// Writes a file of root's, unless something of another owner is there.
/// `before` runs after that was checked.
pub(super) async fn write_guarded(
    file: &ManagedFile,
    before: impl FnOnce() -> Result<(), FileError> + Send + 'static,
) -> Result<(), ActionError> {
    let file = file.clone();
    blocking(move || {
        let owner = Owner::of(file.content.as_bytes());
        if file.path.symlink_metadata().is_ok() {
            let there = FileCache::content(&file.path)?;
            if Owner::of(&there) != owner {
                return Err(conflict(&file.path));
            }
        }
        before()?;
        let spec = FileSpec::own(file.mode);
        Ok(files::write(&file.path, file.content.as_bytes(), spec)?)
    })
    .await
}

async fn remove_guarded(
    tenant: &TenantName,
    path: &Path,
    before: impl FnOnce() -> Result<(), FileError> + Send + 'static,
) -> Result<(), ActionError> {
    let (owner, path) = (Owner::Tenant(tenant.to_string()), PathBuf::from(path));
    blocking(move || {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        if Owner::of(&FileCache::content(&path)?) != Some(owner) {
            return Err(conflict(&path));
        }
        before()?;
        files::remove(&path)?;
        Ok(())
    })
    .await
}

fn conflict(path: &Path) -> ActionError {
    ActionError {
        reason: ProblemReason::Conflict,
        message: format!(
            "{} does not carry the tenant's mark; it is not touched. Move it away",
            path.display()
        ),
        transient: false,
    }
}

pub(super) fn check_job(result: &JobResult, what: &str, unit: &str) -> Result<(), ActionError> {
    if result.is_done() {
        return Ok(());
    }
    Err(ActionError {
        reason: if what == "start" {
            ProblemReason::StartFailed
        } else {
            ProblemReason::StopFailed
        },
        message: format!(
            "the {what} of {unit} ended with `{result}`; `journalctl -u {unit}` says why"
        ),
        transient: false,
    })
}

fn failed(reason: ProblemReason, error: &dyn std::error::Error, transient: bool) -> ActionError {
    ActionError {
        reason,
        message: chain(error),
        transient,
    }
}

impl From<FileError> for ActionError {
    fn from(error: FileError) -> Self {
        let reason = match &error {
            FileError::NoSpace { .. } => ProblemReason::DiskFull,
            FileError::InTheWay { .. } => ProblemReason::Conflict,
            FileError::Io { .. } => ProblemReason::FileFailed,
        };
        failed(reason, &error, false)
    }
}

impl From<SystemdError> for ActionError {
    fn from(error: SystemdError) -> Self {
        let transient = error.is_transient();
        let reason = if transient {
            ProblemReason::Unreachable
        } else {
            ProblemReason::SystemdRefused
        };
        failed(reason, &error, transient)
    }
}

impl From<UsersError> for ActionError {
    fn from(error: UsersError) -> Self {
        failed(ProblemReason::UserFailed, &error, false)
    }
}

impl From<ReleaseError> for ActionError {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::File(error) => error.into(),
            ReleaseError::Systemd(error) => error.into(),
            ReleaseError::Users(error) => error.into(),
            error @ ReleaseError::Conflict(_) => failed(ProblemReason::Conflict, &error, false),
            error @ ReleaseError::Build { .. } => failed(ProblemReason::BuildFailed, &error, false),
            error => failed(ProblemReason::ReleaseUnavailable, &error, false),
        }
    }
}

impl From<SiteError> for ActionError {
    fn from(error: SiteError) -> Self {
        let (reason, transient) = match &error {
            SiteError::Rejected { .. } => (ProblemReason::SiteRejected, false),
            SiteError::BrokenBefore { .. } => (ProblemReason::NginxBroken, false),
            SiteError::NotRunning { .. } => (ProblemReason::NginxNotRunning, false),
            SiteError::Reload { transient, .. } => (ProblemReason::NginxReloadFailed, *transient),
            SiteError::Conflict { .. } => (ProblemReason::Conflict, false),
            SiteError::System { no_space: true, .. } => (ProblemReason::DiskFull, false),
            SiteError::System { .. } => (ProblemReason::NginxFailed, false),
        };
        failed(reason, &error, transient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managed(path: PathBuf, tenant: &str) -> ManagedFile {
        ManagedFile {
            path,
            content: Owner::Tenant(tenant.to_owned()).header(),
            mode: 0o644,
        }
    }

    /// Law 3, even if the file appeared after the plan was made.
    #[tokio::test]
    async fn what_is_not_the_tenants_is_neither_written_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let tenant: TenantName = "ky04".parse().unwrap();
        let path = folder.path().join("a");
        let ours = managed(path.clone(), "ky04");
        let nothing = || Ok(());
        write_guarded(&ours, nothing).await.unwrap();
        write_guarded(&ours, nothing).await.unwrap();
        let theirs = managed(path.clone(), "oh03").content;
        for foreign in [theirs.as_str(), "[Service]\n"] {
            std::fs::write(&path, foreign).unwrap();
            let marker = || -> Result<(), FileError> { panic!("nothing is about to change") };
            let error = write_guarded(&ours, marker).await.unwrap_err();
            assert_eq!(error.reason, ProblemReason::Conflict);
            let error = remove_guarded(&tenant, &path, marker).await.unwrap_err();
            assert_eq!(error.reason, ProblemReason::Conflict);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
        std::fs::write(&path, &ours.content).unwrap();
        remove_guarded(&tenant, &path, nothing).await.unwrap();
        remove_guarded(&tenant, &path, nothing).await.unwrap();
        assert!(!path.exists());
    }
}
