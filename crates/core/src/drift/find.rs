//! Names the differences.

use std::path::Path;

use super::{Drift, DriftKind};
use crate::desired::{Credential, Desired, DesiredService, Folder, FolderOwner, ManagedFile};
use crate::layout::Layout;
use crate::mark::Owner;
use crate::observed::{Exit, Health, Observed, PathState, UnitState};
use crate::plan::left_over;
use crate::record::Record;

/// The target of the link that masks a unit.
const MASK: &str = "/dev/null";

/// How each of a file's properties differs.
struct Kinds {
    content: DriftKind,
    mode: DriftKind,
    owner: DriftKind,
    deleted: DriftKind,
    replaced: DriftKind,
}

const UNIT: Kinds = Kinds {
    content: DriftKind::UnitChanged,
    mode: DriftKind::UnitMode,
    owner: DriftKind::UnitOwner,
    deleted: DriftKind::UnitDeleted,
    replaced: DriftKind::UnitReplaced,
};
const FILE: Kinds = Kinds {
    content: DriftKind::FileChanged,
    mode: DriftKind::FileMode,
    owner: DriftKind::FileOwner,
    deleted: DriftKind::FileDeleted,
    replaced: DriftKind::FileReplaced,
};
const SITE: Kinds = Kinds {
    content: DriftKind::SiteChanged,
    mode: DriftKind::SiteMode,
    owner: DriftKind::SiteOwner,
    deleted: DriftKind::SiteDeleted,
    replaced: DriftKind::SiteReplaced,
};

/// All differences of a tenant that was applied in full and that nobody asked
/// to change since.
pub(crate) fn find(
    desired: &Desired,
    observed: &Observed,
    record: &Record,
    layout: Layout<'_>,
) -> Vec<Drift> {
    let mut finder = Finder {
        desired,
        observed,
        record,
        layout,
        found: Vec::new(),
    };
    finder.user();
    for folder in &desired.folders {
        finder.folder(folder);
    }
    if !observed.release {
        let path = desired.release.path.display().to_string();
        finder.add(DriftKind::ReleaseChanged, path, "the release is gone");
    } else if let Some(first) = observed.release_changes.first() {
        let path = desired.release.path.display().to_string();
        let more = observed.release_changes.len() - 1;
        let detail = match more {
            0 => first.clone(),
            _ => format!("{first}, and {more} more differences"),
        };
        finder.add(DriftKind::ReleaseChanged, path, detail);
    }
    finder.file(&desired.env, &FILE);
    finder.credentials();
    for service in &desired.services {
        finder.unit(service);
        finder.run(service);
        finder.port(service);
    }
    if let Some((file, _)) = desired.tls.iter().find_map(|tls| tls.certificate.as_ref()) {
        finder.file(file, &FILE);
    }
    finder.site();
    finder.found
}

/// The difference between the schema version that the last migration left and
/// the one that the running application tells.
#[must_use]
pub fn schema<'a>(record: &Record, answers: impl IntoIterator<Item = &'a Health>) -> Option<Drift> {
    let recorded = record.schema_version?;
    let told = answers
        .into_iter()
        .find_map(|health| health.schema_version)?;
    (told != recorded).then(|| Drift {
        kind: DriftKind::SchemaChanged,
        what: "database".to_owned(),
        detail: format!("its schema version is {told} instead of {recorded}"),
        by: None,
    })
}

struct Finder<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    record: &'a Record,
    layout: Layout<'a>,
    found: Vec<Drift>,
}

impl Finder<'_> {
    fn add(&mut self, kind: DriftKind, what: impl Into<String>, detail: impl Into<String>) {
        let what = what.into();
        let by = self.observed.actors.get(Path::new(&what)).cloned();
        self.found.push(Drift {
            kind,
            what,
            detail: detail.into(),
            by,
        });
    }

    fn user(&mut self) {
        let user = self.desired.user.clone();
        self.file(&self.desired.sysusers, &FILE);
        if self.observed.user.is_none() {
            self.add(DriftKind::UserMissing, user, "it does not exist");
            return;
        }
        let Some(account) = &self.observed.account else {
            return;
        };
        if account.can_log_in() {
            let detail = format!("its shell is {}", account.shell);
            self.add(DriftKind::UserShell, user.clone(), detail);
        }
        let home = self.layout.data(&self.desired.tenant);
        if Path::new(&account.home) != home {
            let detail = format!("its home is {} instead of {}", account.home, home.display());
            self.add(DriftKind::UserHome, user, detail);
        }
    }

    fn folder(&mut self, folder: &Folder) {
        let what = folder.path.display().to_string();
        let (mode, uid, gid) = match self.observed.paths.get(&folder.path) {
            Some(PathState::Folder { mode, uid, gid }) => (*mode, *uid, *gid),
            None => return self.add(DriftKind::FolderMissing, what, "it does not exist"),
            Some(other) => {
                let detail = format!("{other} is in its place");
                return self.add(DriftKind::FolderMissing, what, detail);
            }
        };
        let owner = match (folder.owner, self.observed.user) {
            (FolderOwner::Root, _) => Some((0, 0)),
            (FolderOwner::Tenant, user) => user.map(|user| (user.uid, user.gid)),
        };
        if let Some(owner) = owner
            && (uid, gid) != owner
        {
            let detail = format!(
                "it belongs to {uid}:{gid} instead of {}:{}",
                owner.0, owner.1
            );
            self.add(DriftKind::FolderOwner, what.clone(), detail);
        }
        if mode != folder.mode {
            let detail = format!("its mode is {mode:o} instead of {:o}", folder.mode);
            self.add(DriftKind::FolderMode, what, detail);
        }
    }

    fn file(&mut self, file: &ManagedFile, kinds: &Kinds) {
        let what = file.path.display().to_string();
        let (digest, owner, mode, uid, gid) = match self.observed.paths.get(&file.path) {
            None => return self.add(kinds.deleted, what, "the file does not exist"),
            Some(PathState::File {
                digest,
                owner,
                mode,
                uid,
                gid,
            }) => (digest, owner, *mode, *uid, *gid),
            Some(other) => {
                return self.add(kinds.replaced, what, format!("{other} is in its place"));
            }
        };
        match owner {
            Some(Owner::Tenant(name)) if *name == self.desired.tenant.as_str() => {}
            Some(owner) => {
                let detail = format!("a file of {owner} is in its place");
                return self.add(kinds.replaced, what, detail);
            }
            None => {
                let detail = "a file without the operator's mark is in its place";
                return self.add(kinds.replaced, what, detail);
            }
        }
        if *digest != file.digest() {
            self.add(kinds.content, what.clone(), "its content differs");
        }
        if mode != file.mode {
            let detail = format!("its mode is {mode:o} instead of {:o}", file.mode);
            self.add(kinds.mode, what.clone(), detail);
        }
        if (uid, gid) != (0, 0) {
            let detail = format!("it belongs to {uid}:{gid} instead of root");
            self.add(kinds.owner, what, detail);
        }
    }

    /// They have no mark; what is in their folder is the operator's.
    fn credentials(&mut self) {
        for credential in &self.desired.credentials {
            let what = credential.path.display().to_string();
            let (digest, mode, uid) = match self.observed.paths.get(&credential.path) {
                None => {
                    self.add(DriftKind::FileDeleted, what, "the file does not exist");
                    continue;
                }
                Some(PathState::File {
                    digest, mode, uid, ..
                }) => (digest, *mode, *uid),
                Some(other) => {
                    let detail = format!("{other} is in its place");
                    self.add(DriftKind::FileReplaced, what, detail);
                    continue;
                }
            };
            if *digest != credential.digest() {
                self.add(DriftKind::FileChanged, what.clone(), "its content differs");
            }
            if mode != Credential::MODE {
                let detail = format!("its mode is {mode:o} instead of {:o}", Credential::MODE);
                self.add(DriftKind::FileMode, what.clone(), detail);
            }
            if uid != 0 {
                let detail = format!("it belongs to {uid} instead of root");
                self.add(DriftKind::FileOwner, what, detail);
            }
        }
        for path in left_over(self.observed, self.desired) {
            let detail = "it delivers no secret of the tenant";
            self.add(DriftKind::FileReplaced, path.display().to_string(), detail);
        }
    }

    fn unit(&mut self, service: &DesiredService) {
        let masked = |path: &Path| match self.observed.paths.get(path) {
            Some(PathState::Link(target)) => target == Path::new(MASK),
            _ => false,
        };
        let own = &service.file.path;
        let foreign = self.observed.masks(&service.unit);
        if masked(own) {
            let what = own.display().to_string();
            self.add(DriftKind::UnitMasked, what, "the unit is masked");
        } else {
            self.file(&service.file, &UNIT);
        }
        for mask in foreign {
            let what = mask.display().to_string();
            self.add(DriftKind::UnitMasked, what, "the unit is masked here");
        }
        let drop_ins = self.observed.drop_ins.get(&service.unit);
        for drop_in in drop_ins.into_iter().flatten() {
            let what = drop_in.display().to_string();
            // One drop-in may be for all units of the tenant.
            if self.found.iter().any(|drift| drift.what == what) {
                continue;
            }
            let detail = format!("it overrides {}", service.unit);
            self.add(DriftKind::UnitDropIn, what, detail);
        }
        if !self.observed.enabled.contains(&service.unit) {
            let detail = "it does not start at boot";
            self.add(DriftKind::UnitDisabled, service.unit.clone(), detail);
        }
    }

    fn run(&mut self, service: &DesiredService) {
        // What the operator never started nobody took away from it.
        let Some(started) = self.record.services.get(&service.name) else {
            return;
        };
        let unit = service.unit.clone();
        let state = self.observed.units.get(&unit).cloned().unwrap_or_default();
        if state.is_stopping() {
            return;
        }
        if state.is_active() {
            let restarted = state.invocation_id.is_some()
                && state.invocation_id != started.invocation_id
                && started.revision == service.revision;
            if restarted && self.is_touched(service) {
                let detail = "it was restarted while its files were changed";
                self.add(DriftKind::ServiceRestarted, unit, detail);
            } else if restarted && self.observed.outlived.contains(&unit) {
                let detail = "it was restarted before its release was put right";
                self.add(DriftKind::ServiceRestarted, unit, detail);
            } else if self.observed.settled.contains(&unit) && !self.listens(service) {
                let detail = format!("it does not listen on port {}", service.port);
                self.add(DriftKind::ServiceNotListening, unit, detail);
            }
            return;
        }
        if let Some((kind, detail)) = how_it_ended(&state) {
            self.add(kind, unit, detail);
        }
    }

    /// Whether the service's files are not those that it was started with.
    fn is_touched(&self, service: &DesiredService) -> bool {
        let (unit, env) = (&service.file.path, &self.desired.env.path);
        let files = [unit, env, &self.desired.release.path];
        let credentials = self.desired.credentials.iter().map(|c| &c.path);
        let paths = files.into_iter().chain(credentials);
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        let of_service = |drift: &Drift| match drift.kind {
            DriftKind::UnitDropIn => self
                .observed
                .drop_ins
                .get(&service.unit)
                .is_some_and(|all| all.iter().any(|path| path == Path::new(&drift.what))),
            _ => paths.contains(&drift.what),
        };
        self.found.iter().any(of_service)
    }

    fn listens(&self, service: &DesiredService) -> bool {
        let own = self.observed.user.map(|user| user.uid);
        let holders = self.observed.bound.get(&service.port);
        own.is_none_or(|own| holders.is_some_and(|holders| holders.contains(&own)))
    }

    fn port(&mut self, service: &DesiredService) {
        let own = self.observed.user.map(|user| user.uid);
        let holders = self.observed.bound.get(&service.port);
        let mut holders = holders.into_iter().flatten();
        if let Some(uid) = holders.find(|uid| Some(**uid) != own) {
            let detail = format!("a process of user id {uid} listens on it");
            self.add(
                DriftKind::PortTaken,
                format!("port {}", service.port),
                detail,
            );
        }
    }

    fn site(&mut self) {
        let Some(site) = &self.desired.site else {
            return;
        };
        let before = self.found.len();
        self.file(site, &SITE);
        if self.found.len() == before && self.observed.site_loaded == Some(false) {
            let detail = "nginx has not read its configuration since the file was touched";
            let what = site.path.display().to_string();
            self.add(DriftKind::SiteNotLoaded, what, detail);
        }
    }
}

/// Why a service that is to run does not. `None` while it starts.
fn how_it_ended(state: &UnitState) -> Option<(DriftKind, String)> {
    let exit = state.exit.as_ref();
    let ended = exit.and_then(Exit::in_words);
    if state.is_starting() {
        // systemd waits to start it again.
        if !state.sub_state.starts_with("auto-restart") {
            return None;
        }
    } else if exit.is_some_and(|exit| exit.result == "timeout")
        || (!state.is_failed() && exit.is_none_or(|exit| exit.asked))
    {
        // A run that ends by itself is inactive for a moment too, before
        // systemd waits to start it again.
        let detail = if exit.is_some() {
            "somebody stopped it"
        } else {
            "it does not run, and the operator did not stop it"
        };
        return Some((DriftKind::ServiceStopped, detail.to_owned()));
    }
    let kind = match exit {
        Some(exit) if exit.is_kill() => DriftKind::ServiceKilled,
        _ => DriftKind::ServiceCrashed,
    };
    Some((kind, ended.unwrap_or_else(|| "it has ended".to_owned())))
}
