//! What was seen on the host of one tenant.
//!
//! [`Scope`] says what to look at; the host answers with [`Observed`]. Both
//! are plain data: looking is the host's work, judging the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adopt::{self, Handmade};
use crate::api::{Application, Host, Tenant};
use crate::certificate::Certificates;
use crate::drift::Actor;
use crate::layout::{Layout, unit_name, user_name};
use crate::mark::Owner;
use crate::record::Record;
use crate::secret::{Opened, SecretSource};
use crate::types::TenantName;

/// Where systemd also looks for units, besides the Host's own unit folder. A
/// unit of a tenant's name there is somebody else's.
pub const FOREIGN_UNIT_FOLDERS: [&str; 2] = ["/run/systemd/system", "/usr/lib/systemd/system"];

/// Where systemd looks for drop-ins of units, besides the Host's own unit
/// folder: `systemctl set-property` writes to the first two.
pub const DROP_IN_FOLDERS: [&str; 4] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
];

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
    /// Where the tenant's secrets come from.
    pub secrets: BTreeSet<SecretSource>,
    /// The folder of the tenant's manifest, relative to that of all manifests.
    pub manifest_folder: PathBuf,
    /// The folder of the tenant's credentials: the state of all that is in it
    /// is wanted.
    pub credentials: PathBuf,
    /// The tenant's certificate, if it is to have one.
    pub certificate: Option<CertificateFiles>,
    /// The shared i360 database, if the tenant uses it.
    pub i360: Option<PathBuf>,
    /// Files that were made by hand and are to be taken over.
    pub adopt: BTreeSet<PathBuf>,
}

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFiles {
    /// In two files that the manifest names.
    Given {
        /// The certificate with its chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// In one file that is there once a certificate was issued.
    Issued(PathBuf),
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
            layout.credentials(name),
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
            secrets: SecretSource::all(&tenant.spec),
            manifest_folder: Path::new(&record.file)
                .parent()
                .map_or_else(PathBuf::new, Path::to_owned),
            credentials: layout.credentials(name),
            certificate: certificate_of(tenant, layout),
            i360: i360_of(tenant, host).map(PathBuf::from),
            adopt: adopt::listed(record),
        }
    }
}

fn certificate_of(tenant: &Tenant, layout: Layout<'_>) -> Option<CertificateFiles> {
    let tls = tenant.spec.tls.as_ref()?;
    if tls.acme {
        let issued = layout.issued(&tenant.metadata.name);
        return Some(CertificateFiles::Issued(issued));
    }
    let (certificate, key) = (tls.certificate_file.as_ref()?, tls.key_file.as_ref()?);
    Some(CertificateFiles::Given {
        certificate: certificate.as_str().into(),
        key: key.as_str().into(),
    })
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
    /// The texts of the files of the scope that were made by hand: those that
    /// are there and carry no mark.
    pub handmade: Handmade,
    /// The tenant's user, if there is one.
    pub user: Option<User>,
    /// The state of each path in the scope, of each owned unit file and of each
    /// certificate that is kept for the tenant; a path that is not listed is
    /// absent.
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
    /// The secrets of the scope, by source; an error says why it cannot be read.
    pub secrets: BTreeMap<SecretSource, Result<Opened, String>>,
    /// What there is of certificates for the tenant's site.
    pub certificates: Certificates,
    /// Whether the i360 database of the scope is there.
    pub i360: bool,
    /// Who has bound which TCP port: user ids by port. One reading of the whole
    /// host, which all tenants share.
    pub bound: Arc<BTreeMap<u16, BTreeSet<u32>>>,
    /// Whether unit files were changed, of any tenant, that systemd has not
    /// read yet: a reload failed, or is under way.
    pub reload_owed: bool,
    /// Whether nginx runs.
    pub proxy_running: bool,
    /// The failed units that are not to be started yet, with a word on when:
    /// they failed again and again.
    pub backing_off: BTreeMap<String, String>,
    /// Whether nobody but the tenant, root and the reverse proxy can connect to
    /// its ports; `false` too if that is not known.
    pub isolated: bool,
    /// Home and shell of the tenant's user.
    pub account: Option<Account>,
    /// The drop-ins that override the tenant's units, by unit.
    pub drop_ins: BTreeMap<String, BTreeSet<PathBuf>>,
    /// Whether the running nginx has read its configuration since the tenant's
    /// site was touched last; absent if that is not known.
    pub site_loaded: Option<bool>,
    /// The units that have run for long enough to listen on their ports.
    pub settled: BTreeSet<String>,
    /// What is not as it was installed in the release of the scope, in words.
    pub release_changes: Vec<String>,
    /// The units whose run began before the release of the scope was put in
    /// its place: they may run with what was there before.
    pub outlived: BTreeSet<String>,
    /// Who changed a file last, of those that are known for certain.
    pub actors: BTreeMap<PathBuf, Actor>,
}

impl Observed {
    /// The links that mask a unit outside of the Host's own unit folder.
    #[must_use]
    pub fn masks(&self, unit: &str) -> Vec<PathBuf> {
        let foreign = FOREIGN_UNIT_FOLDERS.map(|folder| Path::new(folder).join(unit));
        let masks = foreign
            .into_iter()
            .filter(|path| matches!(self.paths.get(path), Some(PathState::Link(to)) if to == Path::new("/dev/null")));
        masks.collect()
    }
}

/// What the file of users says of a user, beside its ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The home folder.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

impl Account {
    /// Whether the shell lets somebody in: none is `/bin/sh`.
    #[must_use]
    pub fn can_log_in(&self) -> bool {
        !matches!(self.shell.rsplit('/').next(), Some("nologin" | "false"))
    }
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
    /// A symbolic link to this target.
    Link(PathBuf),
    /// Anything else, in words: `a FIFO`, `a file of 3 GB`.
    Other(String),
}

/// What it is, in words.
impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathState::File { .. } => "a file",
            PathState::Folder { .. } => "a folder",
            PathState::Link(_) => "a symbolic link",
            PathState::Other(what) => what,
        })
    }
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
    /// How its last run ended, if that was seen.
    pub exit: Option<Exit>,
}

/// How a run of a unit ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// systemd's word, for example `success`, `signal`, `oom-kill`, `timeout`.
    pub result: String,
    /// How the main process ended, as in `si_code` of sigaction(2): 1 it
    /// exited, 2 a signal ended it, 3 so and it left a core.
    pub code: i32,
    /// Its exit status or the signal's number.
    pub status: i32,
    /// Whether somebody had asked systemd for a job on the unit (to stop it)
    /// since it ran: it has not ended by itself.
    pub asked: bool,
}

/// Signals that are sent on purpose, and not because a program is wrong.
const SENT: [(i32, &str); 7] = [
    (1, "HUP"),
    (2, "INT"),
    (9, "KILL"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
];

impl Exit {
    const EXITED: i32 = 1;
    const KILLED: i32 = 2;

    /// Whether somebody ended it by a signal.
    #[must_use]
    pub fn is_kill(&self) -> bool {
        self.code == Self::KILLED
            && !matches!(self.result.as_str(), "oom-kill" | "timeout" | "watchdog")
            && SENT.iter().any(|(number, _)| *number == self.status)
    }

    /// In words; `None` if no process has ended.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let status = self.status;
        match (self.result.as_str(), self.code) {
            ("oom-kill", _) => Some("the kernel ended it: out of memory".to_owned()),
            ("watchdog", _) => Some("systemd ended it: its watchdog was silent".to_owned()),
            (_, 0) => None,
            (_, Self::EXITED) => Some(format!("it exited with status {status}")),
            _ => match SENT.iter().find(|(number, _)| *number == status) {
                Some((_, name)) => Some(format!("signal {name} ended it")),
                None => Some(format!("it crashed with signal {status}")),
            },
        }
    }
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

/// A secret text. It has no way into a log, a message or a manifest.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The text, for the file that holds it and nothing else.
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
