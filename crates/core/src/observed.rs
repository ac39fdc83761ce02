//! What was seen on the host of one tenant.
//!
//! [`Scope`] says what to look at; the host answers with [`Observed`]. Both
//! are plain data: looking is the host's work, judging the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::{Application, Host, Tenant};
use crate::layout::{Layout, unit_name, user_name};
use crate::mark::Owner;
use crate::record::Record;
use crate::types::TenantName;

/// Where systemd also looks for units, besides the Host's own unit folder. A
/// unit of a tenant's name there is somebody else's.
pub const FOREIGN_UNIT_FOLDERS: [&str; 2] = ["/run/systemd/system", "/usr/lib/systemd/system"];

/// What to look at for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The tenant.
    pub tenant: TenantName,
    /// Its Linux user.
    pub user: String,
    /// Files and folders whose state is wanted.
    pub paths: BTreeSet<PathBuf>,
    /// Units whose state is wanted, beside those whose files carry the
    /// tenant's mark.
    pub units: BTreeSet<String>,
    /// The release folder that should be there.
    pub release: Option<PathBuf>,
    /// Files whose content is a secret value.
    pub secrets: BTreeSet<PathBuf>,
    /// The shared i360 database, if the tenant uses it.
    pub i360: Option<PathBuf>,
}

impl Scope {
    /// The scope of a tenant. Without an Application (it is gone, or the
    /// tenant is being removed) the services are those of the record.
    #[must_use]
    pub fn of(record: &Record, application: Option<&Application>, host: &Host) -> Self {
        let tenant = &record.tenant;
        let name = record.name();
        let layout = Layout::new(&host.spec);
        let mut services: BTreeSet<&str> =
            record.ports.by_service.keys().map(AsRef::as_ref).collect();
        services.extend(record.services.keys().map(AsRef::as_ref));
        if let Some(application) = application {
            services.extend(application.spec.services.iter().map(|s| s.name.as_str()));
        }
        let units: BTreeSet<String> = services.iter().map(|s| unit_name(name, s)).collect();
        let mut paths = BTreeSet::from([
            layout.sysusers_file(name),
            layout.data(name),
            layout.database(name),
            layout.uploads(name),
            layout.env_dir(name),
            layout.env_file(name),
            layout.site_file(name),
        ]);
        for unit in &units {
            paths.insert(layout.unit_file(unit));
            paths.extend(FOREIGN_UNIT_FOLDERS.map(|folder| Path::new(folder).join(unit)));
        }
        Self {
            tenant: name.clone(),
            user: user_name(name),
            paths,
            units,
            release: application
                .map(|_| layout.release(&tenant.spec.application, &tenant.spec.version)),
            secrets: tenant
                .spec
                .secret_refs
                .iter()
                .map(|s| s.file.as_str().into())
                .collect(),
            i360: i360_of(tenant, host).map(PathBuf::from),
        }
    }
}

/// The path of the i360 database, if this tenant uses it and the host has it.
#[must_use]
pub fn i360_of<'a>(tenant: &Tenant, host: &'a Host) -> Option<&'a str> {
    let shared = host.spec.shared_services.i360.as_ref()?;
    tenant.spec.database.i360.then_some(shared.path.as_str())
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The tenant's user, if there is one.
    pub user: Option<User>,
    /// The state of each path in the scope and of each owned unit file; a path
    /// that is not listed is absent.
    pub paths: BTreeMap<PathBuf, PathState>,
    /// The state of each unit that systemd has loaded; a unit that is not
    /// listed is inactive.
    pub units: BTreeMap<String, UnitState>,
    /// The units that start at boot.
    pub enabled: BTreeSet<String>,
    /// The units whose files in the unit folder carry the tenant's mark.
    pub owned_units: BTreeSet<String>,
    /// Whether the release folder of the scope is there, complete.
    pub release: bool,
    /// The secrets of the scope, by file; an error says why it cannot be read.
    pub secrets: BTreeMap<PathBuf, Result<Secret, String>>,
    /// Whether the i360 database of the scope is there.
    pub i360: bool,
    /// Who has bound which TCP port: user ids by port.
    pub bound: BTreeMap<u16, BTreeSet<u32>>,
    /// Whether unit files were changed, of any tenant, that systemd has not
    /// read yet: a reload failed, or is under way.
    pub reload_owed: bool,
    /// Whether nginx runs.
    pub proxy_running: bool,
    /// The failed units that are not to be started yet, with a word on when:
    /// they failed again and again.
    pub backing_off: BTreeMap<String, String>,
}

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The id of the user's own group.
    pub gid: u32,
}

/// What is at a path. Symbolic links are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// A regular file.
    File {
        /// The digest of its content, see [`crate::digest::of_content`].
        digest: String,
        /// Whose it is by its mark.
        owner: Option<Owner>,
        /// Permission bits, with setuid, setgid and sticky.
        mode: u32,
        /// The owning user id.
        uid: u32,
        /// The owning group id.
        gid: u32,
    },
    /// A folder.
    Folder {
        /// Permission bits, with setuid, setgid and sticky.
        mode: u32,
        /// The owning user id.
        uid: u32,
        /// The owning group id.
        gid: u32,
    },
    /// Anything else, in words: `a symbolic link`, `a FIFO`, `a file of 3 GB`.
    Other(String),
}

/// What systemd says about a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`,
    /// `reloading`; see systemctl(1).
    pub active_state: String,
    /// `running`, `dead`, `auto-restart`, …
    pub sub_state: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load_state: String,
    /// The unit's current InvocationID, 32 hexadecimal digits.
    pub invocation_id: Option<String>,
}

impl UnitState {
    /// Whether the unit runs.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "reloading")
    }

    /// Whether systemd is on its own way to run it.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.active_state == "activating"
    }

    /// Whether systemd is on its way to stop it.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.active_state == "deactivating"
    }

    /// Whether a start would be refused or hit the start limit.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.active_state == "failed"
    }
}

/// The answer to a health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the service answered with status 200.
    pub ok: bool,
    /// The version in the answer.
    pub version: Option<String>,
    /// The schema version in the answer.
    pub schema_version: Option<i64>,
    /// Why it is not healthy.
    pub error: Option<String>,
}

/// A secret value. It has no way into a log, a message or a manifest.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the `.env` file and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
