//! nginx in memory: the sites on the disk and the sites it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_core::mark::Owner;

use super::disk::Disk;

/// Whether nginx rejects a site with this text.
pub(super) type Rejects = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Nginx {
    pub(super) running: bool,
    /// Whether the rest of its configuration is broken.
    pub(super) broken: bool,
    pub(super) rejects: Rejects,
    /// The sites that it serves.
    pub(super) served: BTreeMap<PathBuf, String>,
}

impl fmt::Debug for Nginx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            running,
            broken,
            served,
            ..
        } = self;
        write!(
            f,
            "Nginx {{ running: {running}, broken: {broken}, served: {served:?} }}"
        )
    }
}

impl Default for Nginx {
    fn default() -> Self {
        let rejects: Rejects = Arc::new(|_| false);
        Self {
            running: true,
            broken: false,
            rejects,
            served: BTreeMap::new(),
        }
    }
}

impl Nginx {
    /// The sites on the disk.
    pub(super) fn sites(disk: &Disk, folder: &Path) -> BTreeMap<PathBuf, String> {
        let sites = disk.files_in(folder, ".conf");
        sites
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .collect()
    }

    /// Whether `nginx -t` accepts these sites.
    pub(super) fn accepts(&self, sites: &BTreeMap<PathBuf, String>) -> bool {
        !self.broken && !sites.values().any(|text| (self.rejects)(text))
    }

    /// Reads the sites again; keeps those it serves if it cannot.
    pub(super) fn reload(&mut self, sites: BTreeMap<PathBuf, String>) -> bool {
        let done = self.running && self.accepts(&sites);
        if done {
            self.served = sites;
        }
        done
    }
}

/// The ports on this machine that sites of others pass requests to.
pub(super) fn foreign_ports(sites: &BTreeMap<PathBuf, String>) -> BTreeSet<u16> {
    let foreign = sites
        .values()
        .filter(|text| Owner::of(text.as_bytes()).is_none());
    foreign
        .flat_map(|text| text.split("127.0.0.1:").skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}
