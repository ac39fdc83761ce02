//! What the managed units on the host say, for the case that records are lost.

use std::collections::BTreeMap;
use std::path::Path;

use cb_core::record::{Ports, recover};
use cb_core::types::{TenantName, Version};
use cb_host::files::FileCache;

/// What the managed units say of all tenants.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Their ports.
    pub ports: BTreeMap<TenantName, Ports>,
    /// The version that they run, of those whose units agree on one.
    pub versions: BTreeMap<TenantName, Version>,
}

/// Reads the managed units in the folder.
///
/// # Errors
/// The folder cannot be listed: no port may be given out then.
pub fn units(folder: &Path) -> std::io::Result<Recovered> {
    let mut out = Recovered::default();
    let mut versions: BTreeMap<TenantName, Option<Version>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        let Ok(content) = FileCache::content(&path) else {
            continue;
        };
        let Some(unit) = recover(&content) else {
            continue;
        };
        let version = versions
            .entry(unit.tenant.clone())
            .or_insert_with(|| unit.version.clone());
        if *version != unit.version {
            *version = None;
        }
        let ports = out.ports.entry(unit.tenant).or_default();
        ports.slot = ports.slot.or(unit.slot);
        ports.by_service.insert(unit.service, unit.port);
    }
    let known = versions.into_iter();
    out.versions = known
        .filter_map(|(name, version)| Some((name, version?)))
        .collect();
    Ok(out)
}
