//! What the managed units on the host say, for the case that records are lost.

use std::collections::BTreeMap;
use std::path::Path;

use cb_core::record::{Ports, recover};
use cb_core::types::TenantName;
use cb_host::files::FileCache;

/// The ports that managed units in the folder name, by tenant.
///
/// # Errors
/// The folder cannot be listed: nothing may be given out then.
pub fn ports(units: &Path) -> std::io::Result<BTreeMap<TenantName, Ports>> {
    let mut out: BTreeMap<TenantName, Ports> = BTreeMap::new();
    for entry in std::fs::read_dir(units)? {
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
        if let Some(unit) = recover(&content) {
            let ports = out.entry(unit.tenant).or_default();
            ports.slot = ports.slot.or(unit.slot);
            ports.by_service.insert(unit.service, unit.port);
        }
    }
    Ok(out)
}
