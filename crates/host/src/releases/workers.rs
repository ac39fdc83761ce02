//! Users without rights that read what others wrote: one for git, one for
//! builds, one for the repository of manifests and its keys, each in a sandbox
//! and one run at a time.
//!
//! One at a time, because processes of one user could reach into each other.
//! Their names have a `_`, which no tenant's name has.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cb_core::mark::Owner;
use cb_core::observed::User;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::ReleaseError;
use crate::files::{self, FileCache, FileSpec};
use crate::systemd::{Outcome, Systemd, Transient};
use crate::users::Users;

/// Where programs are looked up.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The user that fetches.
pub(super) const GIT: &str = "cb_git";
/// The user that builds.
pub(super) const BUILD: &str = "cb_build";
/// The user that follows the repository of manifests.
pub(crate) const SOURCE: &str = "cb_source";

/// How many processes and threads a worker may have.
const TASKS: u64 = 4096;

/// What workers need of the host.
#[derive(Debug)]
pub struct Workers {
    systemd: Systemd,
    users: Arc<Users>,
    state: PathBuf,
    definition: PathBuf,
    git: Arc<Mutex<()>>,
    build: Arc<Mutex<()>>,
    source: Arc<Mutex<()>>,
}

/// The right to run a worker, and its user.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) user: User,
    _turn: OwnedMutexGuard<()>,
}

impl Workers {
    /// Workers for the Host's folder of state, whose users are defined in the
    /// folder of user definitions.
    #[must_use]
    pub fn new(state: &Path, sysusers: &Path, systemd: Systemd, users: Arc<Users>) -> Self {
        Self {
            systemd,
            users,
            state: state.to_owned(),
            definition: sysusers.join("cb_releases.conf"),
            git: Arc::default(),
            build: Arc::default(),
            source: Arc::default(),
        }
    }

    /// The folder of mirrors, which is the home of the user that fetches.
    pub(super) fn mirrors(&self) -> PathBuf {
        self.state.join("git")
    }

    /// Waits for the turn to run as [`GIT`], [`BUILD`] or [`SOURCE`]; the user is made if
    /// it is not there.
    pub(crate) async fn turn(&self, name: &'static str) -> Result<Turn, ReleaseError> {
        let gate = match name {
            GIT => &self.git,
            SOURCE => &self.source,
            _ => &self.build,
        };
        let _turn = Arc::clone(gate).lock_owned().await;
        if let Some(user) = self.users.get(name)? {
            return Ok(Turn { user, _turn });
        }
        let definition = self.definition.clone();
        let text = format!(
            "{}u {GIT} - \"Campaign Brain fetches releases\" {}\nu {BUILD} - \"Campaign Brain builds releases\" /\nu {SOURCE} - \"Campaign Brain follows a repository\" /\n",
            Owner::Host.header(),
            self.mirrors().display()
        );
        super::blocking(move || define(&definition, &text)).await?;
        let user = self.users.ensure(name, &self.definition).await?;
        Ok(Turn { user, _turn })
    }

    /// A shell script as a worker, in a sandbox without a network that hides
    /// the folder of state.
    pub(crate) fn script(&self, user: &'static str, script: &str, time: Duration) -> Transient {
        let transient = Transient::new(&format!("{user}.service"), Path::new("/bin/sh"), time);
        transient
            .user(user)
            .sandbox()
            .hide(&self.state)
            .tasks_max(TASKS)
            .property("ProtectKernelTunables", true)
            .property("ProtectKernelModules", true)
            .property("ProtectControlGroups", true)
            .property("ProtectProc", "invisible")
            .property("RestrictSUIDSGID", true)
            .property("LockPersonality", true)
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .arg("-euc")
            .arg(script)
            .arg(user)
    }

    /// Runs a worker, whose turn it is.
    pub(crate) async fn run(&self, _: &Turn, worker: &Transient) -> Result<Outcome, ReleaseError> {
        Ok(self.systemd.run(worker).await?)
    }
}

fn define(path: &Path, text: &str) -> Result<(), ReleaseError> {
    if path.symlink_metadata().is_ok() {
        let there = FileCache::content(path)?;
        if Owner::of(&there) != Some(Owner::Host) {
            return Err(ReleaseError::Conflict(path.to_owned()));
        }
    }
    Ok(files::write(path, text.as_bytes(), FileSpec::own(0o644))?)
}

/// Whether one of the folders in [`PATH`] has this program.
pub(crate) fn has_program(name: &str) -> bool {
    PATH.split(':')
        .any(|folder| Path::new(folder).join(name).is_file())
}
