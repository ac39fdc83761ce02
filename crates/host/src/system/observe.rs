//! Looking at one tenant. No D-Bus call, no program, no content that did not
//! change: some `lstat`s and look-ups in maps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cb_core::adopt::Handmade;
use cb_core::certificate::Certificates;
use cb_core::drift::Actor;
use cb_core::mark::Owner;
use cb_core::observed::{DROP_IN_FOLDERS, Observed, PathState, Scope, Secret, UnitState};

use super::release_looks::Changes;
use super::{SystemHost, credentials};
use crate::HostError;
use crate::files::{FileCache, chain};
use crate::releases::Releases;
use crate::systemd::{SystemdError, invocation_link};

/// Passes that run together share one reading of the sockets. Who holds a port
/// is for messages; giving ports out asks anew.
const SOCKETS_MAX_AGE: Duration = Duration::from_millis(500);

/// Where a link makes a unit start at boot. systemd makes it here, wherever
/// the unit file is.
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";

impl SystemHost {
    pub(super) async fn look(&self, scope: &Scope) -> Result<Observed, HostError> {
        let failed = |error: &dyn std::error::Error| HostError(chain(error));
        if !self.systemd.is_fresh() {
            return Err(failed(&SystemdError::Disconnected));
        }
        let entry = self.users.entry(&scope.user).map_err(|e| failed(&e))?;
        let (user, account) = entry.unzip();
        let bound = self.sockets.dump(SOCKETS_MAX_AGE).await;
        let bound = bound.map_err(|e| failed(&e))?;
        let folder = Path::new(self.spec.paths.units.as_str());
        let owned_units = self.owned_units(folder, scope)?;
        let unit_files = owned_units.iter().map(|unit| folder.join(unit));
        let mut paths = BTreeMap::new();
        let credentials = credentials::entries(&scope.credentials);
        for path in scope
            .paths
            .iter()
            .cloned()
            .chain(unit_files)
            .chain(credentials)
        {
            if let Some(state) = self.files.state(&path) {
                paths.insert(path, state);
            }
        }
        let kept = self.kept_certificates(scope, &mut paths)?;
        let certificates = match &scope.certificate {
            Some(files) => self.certificates.look(files, &kept),
            None => Certificates::default(),
        };
        let names: BTreeSet<&String> = scope.units.iter().chain(&owned_units).collect();
        let mut units = BTreeMap::new();
        let mut enabled = BTreeSet::new();
        for name in names {
            if let Some(state) = self.unit_state(name) {
                units.insert(name.clone(), state);
            }
            if Path::new(WANTS).join(name).is_symlink() {
                enabled.insert(name.clone());
            }
        }
        let site = self.layout().site_file(&scope.tenant);
        let site_loaded = self.nginx.has_read(&site);
        let drop_ins = self.drop_ins(scope);
        let mut actors = self.who(scope, &paths, &drop_ins);
        let installed = scope.release.as_deref();
        let installed = installed.filter(|release| Releases::is_installed(release));
        let release_changes = match installed {
            Some(release) => self.release_looks.changes(&self.releases, release).await,
            None => Changes::default(),
        };
        if let (Some(release), Some(by)) = (installed, release_changes.by) {
            actors.insert(release.to_owned(), by);
        }
        Ok(Observed {
            handmade: self.handmade(scope),
            user,
            account,
            isolated: false,
            drop_ins,
            site_loaded: site_loaded.filter(|_| paths.contains_key(&site)),
            settled: BTreeSet::new(),
            certificates,
            actors,
            release_changes: release_changes.told.to_vec(),
            outlived: installed.map_or_else(BTreeSet::new, |release| outlived(release, scope)),
            paths,
            units,
            enabled,
            owned_units,
            release: installed.is_some(),
            secrets: self.secrets.open(scope).await,
            i360: scope.i360.as_deref().is_some_and(Path::is_file),
            bound,
            reload_owed: self.units.is_owed(),
            proxy_running: self
                .systemd
                .unit(self.spec.nginx.unit.as_str())
                .is_some_and(|nginx| nginx.is_active()),
            backing_off: BTreeMap::new(),
        })
    }

    /// The texts of files that were made by hand: of a link, what it leads to.
    /// What cannot be read is in the way, and is told as such.
    fn handmade(&self, scope: &Scope) -> Handmade {
        let text = |path: &PathBuf| {
            let content = match self.files.state(path)? {
                PathState::File { owner: None, .. } => FileCache::content(path).ok()?,
                PathState::Link(_) => FileCache::content(&path.canonicalize().ok()?).ok()?,
                _ => return None,
            };
            let text = String::from_utf8(content).ok()?;
            Some((path.clone(), Secret::new(text)))
        };
        scope.adopt.iter().filter_map(text).collect()
    }

    /// Who changed the tenant's files last. Listens to their folders first, for
    /// the next time.
    fn who(
        &self,
        scope: &Scope,
        paths: &BTreeMap<PathBuf, PathState>,
        drop_ins: &BTreeMap<String, BTreeSet<PathBuf>>,
    ) -> BTreeMap<PathBuf, Actor> {
        let overrides = drop_ins.values().flatten();
        let files = || {
            scope
                .paths
                .iter()
                .chain(paths.keys())
                .chain(overrides.clone())
        };
        let folders: BTreeSet<&Path> = files().filter_map(|path| path.parent()).collect();
        for folder in folders {
            self.actors.watch(folder);
        }
        self.actors.of(files().cloned())
    }

    /// A unit that was stopped is soon taken away by systemd; how it ended is
    /// still known.
    fn unit_state(&self, name: &str) -> Option<UnitState> {
        let gone = || {
            Some(UnitState {
                active_state: "inactive".to_owned(),
                sub_state: "dead".to_owned(),
                exit: Some(self.systemd.exit(name)?),
                ..UnitState::default()
            })
        };
        self.systemd.unit(name).or_else(gone)
    }

    /// The drop-ins of the tenant's units, and those of all its units
    /// (`NAME-.service.d`). Drop-ins of all services of the host
    /// (`service.d`) are not about the tenant.
    fn drop_ins(&self, scope: &Scope) -> BTreeMap<String, BTreeSet<PathBuf>> {
        let own = self.spec.paths.units.as_str();
        let folders = || std::iter::once(own).chain(DROP_IN_FOLDERS);
        let shared: Vec<PathBuf> = folders()
            .flat_map(|folder| overrides(folder, &format!("{}-.service", scope.tenant)))
            .collect();
        let of_unit = |unit: &String| {
            let own = folders().flat_map(|folder| overrides(folder, unit));
            let all: BTreeSet<PathBuf> = own.chain(shared.iter().cloned()).collect();
            (!all.is_empty()).then(|| (unit.clone(), all))
        };
        scope.units.iter().filter_map(of_unit).collect()
    }

    /// The files of the tenant's certificates, whose states are added to
    /// `paths`.
    fn kept_certificates(
        &self,
        scope: &Scope,
        paths: &mut BTreeMap<PathBuf, PathState>,
    ) -> Result<Vec<PathBuf>, HostError> {
        let folder = self.layout().certificates();
        let owned = self.files.owned(&folder, ".pem");
        let owned = owned.map_err(|error| HostError(chain(&error)))?;
        let owner = Owner::Tenant(scope.tenant.to_string());
        let mut kept = Vec::new();
        for file in owned.iter().filter(|file| file.owner == owner) {
            let path = folder.join(&file.name);
            if let Some(state) = self.files.state(&path) {
                paths.insert(path.clone(), state);
                kept.push(path);
            }
        }
        Ok(kept)
    }

    fn owned_units(&self, folder: &Path, scope: &Scope) -> Result<BTreeSet<String>, HostError> {
        let owned = self.files.owned(folder, ".service");
        let owned = owned.map_err(|error| HostError(chain(&error)))?;
        let ours = |owner: &Owner| match owner {
            Owner::Tenant(name) => *name == scope.tenant.as_str(),
            Owner::Host => false,
        };
        let units = owned.iter().filter(|file| ours(&file.owner));
        Ok(units.map(|file| file.name.clone()).collect())
    }
}

/// The units whose run began before the release was put in its place. systemd
/// makes a link when a run begins, so both are times of the same clock.
fn outlived(release: &Path, scope: &Scope) -> BTreeSet<String> {
    let Some(placed) = Releases::placed(release) else {
        return BTreeSet::new();
    };
    let began_before = |unit: &&String| {
        let began = invocation_link(unit).symlink_metadata();
        began
            .and_then(|began| began.modified())
            .is_ok_and(|began| began < placed)
    };
    scope.units.iter().filter(began_before).cloned().collect()
}

/// The files and links in a folder of drop-ins that systemd reads.
fn overrides(folder: &str, unit: &str) -> Vec<PathBuf> {
    let folder = Path::new(folder).join(format!("{unit}.d"));
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Vec::new();
    };
    let is_override = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "conf")
            && path
                .symlink_metadata()
                .is_ok_and(|meta| meta.is_file() || meta.is_symlink())
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(is_override).collect()
}
