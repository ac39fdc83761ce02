//! What has to be done: an ordered list of actions with reasons.
//!
//! [`converge()`] compares what should be with what was seen; [`remove()`] takes a
//! tenant down. Both are pure: `cbctl diff` prints the plan, the operator
//! executes it. An empty plan is what *converged* means.
//!
//! Steps are in the order they are done. Each belongs to an [`Aspect`]: when a
//! step fails, the later steps of its aspect are left out, and all later ones
//! if it was a step of [`Aspect::Base`]. So a site that nginx rejects does not
//! keep the services from starting.

mod converge;
mod remove;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::desired::{Credential, Folder, FolderOwner, ManagedFile, Release};
use crate::drift::Drift;
use crate::record::Ports;
use crate::status::ProblemReason;
use crate::types::{ObjectName, TenantName};

pub use converge::converge;
pub(crate) use converge::credentials::left_over;
pub use remove::remove;

/// What has to be done for one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What would have to be done but must not be, with the reason.
    pub blocked: Vec<Blocked>,
    /// Why the steps are not to be executed, if so.
    pub hold: Option<Hold>,
    /// How the host differs from what was applied although nobody asked for
    /// it: why there are steps of [`Cause::Drift`], and what none can undo.
    pub drifts: Vec<Drift>,
}

impl Plan {
    /// Whether the host is as it should be, as far as steps can tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// The steps to execute: none if the plan is on hold.
    #[must_use]
    pub fn to_execute(&self) -> &[Step] {
        if self.hold.is_some() {
            &[]
        } else {
            &self.steps
        }
    }
}

/// Why a plan is not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// `spec.suspend` is set.
    Suspended,
    /// The host differs from what was applied and `driftPolicy` is `Detect`.
    Detect,
    /// What was put right is undone again and again; the next correction has
    /// to wait.
    Fought {
        /// How often it was put right lately.
        times: u32,
    },
}

impl Hold {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Hold::Suspended => "Suspended",
            Hold::Detect => "Detect",
            Hold::Fought { .. } => "Fought",
        }
    }
}

/// One thing to do and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is part of.
    pub aspect: Aspect,
    /// What to do.
    pub action: Action,
    /// Why, in words. Never the content of a file.
    pub reason: String,
    /// Whether somebody asked for it.
    pub cause: Cause,
}

/// What a step is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Aspect {
    /// What everything else needs: ports, user, folders, release.
    Base,
    /// Environment and units.
    Services,
    /// The nginx site.
    Proxy,
    /// A tenant's data, when it is deleted.
    Data,
}

impl Aspect {
    /// Whether a step of this aspect is left out after steps of `failed`
    /// aspects failed. A tenant's data is not touched, and nothing is recorded
    /// as done, while something before it is not.
    #[must_use]
    pub fn is_blocked_by(self, failed: &BTreeSet<Aspect>) -> bool {
        match self {
            Aspect::Base | Aspect::Data => !failed.is_empty(),
            Aspect::Services | Aspect::Proxy => {
                failed.contains(&self) || failed.contains(&Aspect::Base)
            }
        }
    }
}

/// Whether somebody asked for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The manifest, the Application or the Host changed.
    Change,
    /// The host changed while they did not.
    Drift,
}

/// Something that would have to be done but must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// What it keeps from being ready.
    pub aspect: Aspect,
    /// A CamelCase word for conditions.
    pub reason: ProblemReason,
    /// What is in the way and what to do about it.
    pub message: String,
}

/// One thing to do. Each is idempotent: done twice it is done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the tenant's ports into its record, before anything uses them.
    RecordPorts(Ports),
    /// Write the user's definition and have systemd-sysusers make the user.
    EnsureUser {
        /// The user.
        user: String,
        /// Its definition.
        file: ManagedFile,
    },
    /// Make a folder, or set its owner and mode.
    EnsureFolder {
        /// The folder.
        folder: Folder,
        /// The tenant's user, who owns it if the folder says so.
        user: String,
    },
    /// Make the shared release folder.
    InstallRelease(Box<Release>),
    /// Write a file.
    WriteFile(ManagedFile),
    /// Write the file of a credential.
    WriteCredential(Credential),
    /// Remove a file from the tenant's folder of credentials.
    RemoveCredential(PathBuf),
    /// Write a unit file. systemd does not know it before the next
    /// [`Action::ReloadUnits`].
    WriteUnit(ManagedFile),
    /// Move what a person made, a drop-in or a link, into the tenant's folder
    /// of things set aside.
    SetAside(PathBuf),
    /// Move a file that a person wrote, and asked to be taken over, into the
    /// tenant's folder of things set aside.
    Adopt(PathBuf),
    /// Remove a unit file that carries the tenant's mark.
    RemoveUnit(PathBuf),
    /// Have systemd read the unit files again.
    ReloadUnits,
    /// Have units start at boot.
    Enable(Vec<String>),
    /// Have units no longer start at boot.
    Disable(Vec<String>),
    /// Record that these services have to be restarted, before the reason for
    /// it disappears from the host.
    RecordStale(Vec<ObjectName>),
    /// Stop a unit and wait for it.
    Stop(String),
    /// Start a unit and wait for systemd's word.
    Start {
        /// The unit.
        unit: String,
        /// The service it runs.
        service: ObjectName,
        /// What it is started with, for the record.
        revision: String,
        /// Whether a failed state or start limit has to be cleared first.
        reset: bool,
    },
    /// Record that a service already runs with this revision: the records were
    /// lost, or the operator ended between a start and its record.
    RecordStarted {
        /// The service.
        service: ObjectName,
        /// Its unit.
        unit: String,
        /// What it runs with.
        revision: String,
        /// The run that was seen.
        invocation_id: Option<String>,
    },
    /// Test the site with all of nginx's configuration, write it, reload.
    WriteSite(ManagedFile),
    /// Remove the site and reload nginx.
    RemoveSite(PathBuf),
    /// Move the tenant's data and `.env` into the backups folder.
    ArchiveData(TenantName),
    /// Remove a file that carries the tenant's mark.
    RemoveFile(PathBuf),
    /// Remove the tenant's user.
    RemoveUser(String),
    /// Record that the tenant is gone and its data stays.
    RecordRetained,
    /// Forget the tenant.
    RemoveRecord,
}

impl Action {
    /// The kind of action, in CamelCase, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Action::RecordPorts(_) => "RecordPorts",
            Action::EnsureUser { .. } => "EnsureUser",
            Action::EnsureFolder { .. } => "EnsureFolder",
            Action::InstallRelease(_) => "InstallRelease",
            Action::WriteFile(_) => "WriteFile",
            Action::WriteCredential(_) => "WriteCredential",
            Action::RemoveCredential(_) => "RemoveCredential",
            Action::WriteUnit(_) => "WriteUnit",
            Action::SetAside(_) => "SetAside",
            Action::Adopt(_) => "Adopt",
            Action::RemoveUnit(_) => "RemoveUnit",
            Action::ReloadUnits => "ReloadUnits",
            Action::Enable(_) => "Enable",
            Action::Disable(_) => "Disable",
            Action::RecordStale(_) => "RecordStale",
            Action::Stop(_) => "Stop",
            Action::Start { .. } => "Start",
            Action::RecordStarted { .. } => "RecordStarted",
            Action::WriteSite(_) => "WriteSite",
            Action::RemoveSite(_) => "RemoveSite",
            Action::ArchiveData(_) => "ArchiveData",
            Action::RemoveFile(_) => "RemoveFile",
            Action::RemoveUser(_) => "RemoveUser",
            Action::RecordRetained => "RecordRetained",
            Action::RemoveRecord => "RemoveRecord",
        }
    }

    /// Whether the action changes the operator's records and nothing else on
    /// the host.
    #[must_use]
    pub fn is_record(&self) -> bool {
        matches!(
            self,
            Action::RecordPorts(_)
                | Action::RecordStale(_)
                | Action::RecordStarted { .. }
                | Action::RecordRetained
                | Action::RemoveRecord
        )
    }
}

/// In words, for people; never the content of a file.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.display().to_string();
        match self {
            Action::RecordPorts(ports) => {
                let ports: Vec<_> = ports
                    .by_service
                    .iter()
                    .map(|(s, p)| format!("{s} {p}"))
                    .collect();
                write!(f, "give ports {}", ports.join(", "))
            }
            Action::EnsureUser { user, .. } => write!(f, "create user {user}"),
            Action::EnsureFolder { folder, .. } => {
                let owner = match folder.owner {
                    FolderOwner::Root => "root",
                    FolderOwner::Tenant => "the tenant",
                };
                write!(f, "create folder {} of {owner}", path(&folder.path))
            }
            Action::InstallRelease(r) => {
                write!(f, "install release {} {}", r.application, r.version)
            }
            Action::WriteFile(file) => write!(f, "write {}", path(&file.path)),
            Action::WriteCredential(file) => write!(f, "write credential {}", path(&file.path)),
            Action::RemoveCredential(file) => write!(f, "remove credential {}", path(file)),
            Action::WriteUnit(file) => write!(f, "write unit {}", path(&file.path)),
            Action::SetAside(found) => write!(f, "set {} aside", path(found)),
            Action::Adopt(found) => write!(f, "take over {}", path(found)),
            Action::RemoveUnit(file) => write!(f, "remove unit {}", path(file)),
            Action::ReloadUnits => f.write_str("reload systemd's units"),
            Action::Enable(units) => write!(f, "enable {}", units.join(", ")),
            Action::Disable(units) => write!(f, "disable {}", units.join(", ")),
            Action::RecordStale(services) => {
                let services: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
                write!(f, "note that {} must be restarted", services.join(", "))
            }
            Action::Stop(unit) => write!(f, "stop {unit}"),
            Action::Start { unit, .. } => write!(f, "start {unit}"),
            Action::RecordStarted { unit, .. } => write!(f, "note that {unit} runs as it should"),
            Action::WriteSite(file) => write!(f, "put site {} live", path(&file.path)),
            Action::RemoveSite(file) => write!(f, "take site {} down", path(file)),
            Action::ArchiveData(tenant) => write!(f, "move the data of {tenant} into the backups"),
            Action::RemoveFile(file) => write!(f, "remove {}", path(file)),
            Action::RemoveUser(user) => write!(f, "remove user {user}"),
            Action::RecordRetained => {
                f.write_str("note that the tenant is gone and its data stays")
            }
            Action::RemoveRecord => f.write_str("forget the tenant"),
        }
    }
}

#[cfg(test)]
mod tests;
