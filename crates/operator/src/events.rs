//! Which tenant an event on the host is about.
//!
//! systemd's events come from the host driver; files are watched here. An
//! event only wakes a pass, so one too many costs little and a lost one is
//! made up for by the resync.

use std::path::Path;
use std::time::Duration;

use cb_core::api::HostSpec;
use cb_core::layout::Layout;
use cb_core::observed::DROP_IN_FOLDERS;
use cb_core::record::Record;
use cb_core::releases::{ReleaseId, needed_by};
use cb_core::types::TenantName;
use cb_host::HostEvent;
use notify::event::CreateKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::named_files;
use crate::state::State;

/// When a new folder is looked into once more.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Watches the folders of managed files. Events stop when the watch is dropped.
///
/// # Errors
/// The system has no watches left; the resync still sees every change.
pub fn watch(
    host: &HostSpec,
    events: mpsc::UnboundedSender<HostEvent>,
) -> notify::Result<notify::RecommendedWatcher> {
    let runtime = tokio::runtime::Handle::current();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else {
            // The receiver is gone only when the operator stops.
            let _ = events.send(HostEvent::Everything);
            return;
        };
        if event.need_rescan() {
            let _ = events.send(HostEvent::Everything);
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let new_folder = event.kind == EventKind::Create(CreateKind::Folder);
        for path in event.paths {
            if new_folder {
                // What came into it before it was watched had no event.
                let (events, path) = (events.clone(), path.clone());
                runtime.spawn(async move {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    let _ = events.send(HostEvent::Path(path));
                });
            }
            let hidden = |name: &std::ffi::OsStr| {
                name.as_encoded_bytes().starts_with(b".") && name != ".env"
            };
            if !path.file_name().is_some_and(hidden) {
                let _ = events.send(HostEvent::Path(path));
            }
        }
    })?;
    let paths = &host.paths;
    let nginx = Path::new(host.nginx.config.as_str());
    let tenants = Layout::new(host).tenants();
    // Drop-ins and links that enable units are in folders below.
    let units = unit_folders(host).map(|folder| (folder, RecursiveMode::Recursive));
    for (folder, mode) in units.into_iter().chain([
        (tenants.as_path(), RecursiveMode::NonRecursive),
        (
            Path::new(host.nginx.sites.as_str()),
            RecursiveMode::NonRecursive,
        ),
        (nginx.parent().unwrap_or(nginx), RecursiveMode::NonRecursive),
        (
            Path::new(paths.sysusers.as_str()),
            RecursiveMode::NonRecursive,
        ),
        (Path::new(paths.env.as_str()), RecursiveMode::Recursive),
    ]) {
        // The others are still worth their events.
        if let Err(error) = watcher.watch(folder, mode) {
            let folder = folder.display();
            tracing::warn!("changes in {folder} are noticed by the resync alone: {error}");
        }
    }
    Ok(watcher)
}

/// The folders that systemd reads units or drop-ins of tenants from. The one of
/// the distribution is left to the resync.
fn unit_folders(host: &HostSpec) -> [&Path; 4] {
    let [control, runtime_control, runtime, _] = DROP_IN_FOLDERS;
    [host.paths.units.as_str(), control, runtime_control, runtime].map(Path::new)
}

/// Whether a file is part of nginx's configuration and no tenant's site: a
/// person may have repaired what kept sites from going live.
#[must_use]
pub fn is_foreign_proxy(event: &HostEvent, host: &HostSpec) -> bool {
    let HostEvent::Path(path) = event else {
        return false;
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let in_sites = path.parent() == Some(Path::new(host.nginx.sites.as_str()));
    path.as_path() == Path::new(host.nginx.config.as_str())
        || (in_sites && !(name.starts_with("cb-") && name.ends_with(".conf")))
}

/// The tenants that an event is about; `None` if it may be about any.
#[must_use]
pub fn tenants(event: &HostEvent, host: &HostSpec, state: &State) -> Option<Vec<TenantName>> {
    match event {
        HostEvent::Everything => None,
        HostEvent::Unit(unit) => Some(of_unit(unit, state)),
        HostEvent::Path(path) => Some(of_path(path, host, state)),
    }
}

/// `a-b-api.service` may be service `api` of `a-b` or `b-api` of `a`.
fn of_unit(unit: &str, state: &State) -> Vec<TenantName> {
    let Some(stem) = unit.strip_suffix(".service") else {
        return Vec::new();
    };
    state.with_records(|records| {
        let splits = stem
            .match_indices('-')
            .map(|(at, _)| (&stem[..at], &stem[at + 1..]));
        let owners = splits.filter_map(|(tenant, service)| {
            let (name, record) = records.get_key_value(tenant)?;
            let known = record.ports.by_service.contains_key(service);
            known.then(|| name.clone())
        });
        owners.collect()
    })
}

fn of_path(path: &Path, host: &HostSpec, state: &State) -> Vec<TenantName> {
    let paths = &host.paths;
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let known = |tenant: &str| {
        state.with_records(|r| r.get_key_value(tenant).map(|(name, _)| name.clone()))
    };
    let in_folder = |folder: &str| path.parent() == Some(Path::new(folder));
    if let Some(below) = unit_folders(host)
        .iter()
        .find_map(|folder| path.strip_prefix(folder).ok())
    {
        // A unit, a link in `*.wants`, a folder of drop-ins or a file in one.
        let first = below.iter().next().and_then(|part| part.to_str());
        let overridden = first.and_then(|first| first.strip_suffix(".d"));
        let unit = overridden.unwrap_or(name);
        return match unit.strip_suffix("-.service") {
            Some(tenant) => known(tenant).into_iter().collect(),
            None => of_unit(unit, state),
        };
    }
    if let Ok(release) = path.strip_prefix(Layout::new(host).releases()) {
        return of_release(release, state);
    }
    let tenant = if path.parent() == Some(Layout::new(host).tenants().as_path()) {
        Some(name)
    } else if in_folder(host.nginx.sites.as_str()) || in_folder(paths.sysusers.as_str()) {
        name.strip_prefix("cb-")
            .and_then(|name| name.strip_suffix(".conf"))
    } else {
        let below = path.strip_prefix(paths.env.as_str()).ok();
        below
            .and_then(|below| below.iter().next())
            .and_then(|first| first.to_str())
    };
    let mut tenants: Vec<TenantName> = tenant.and_then(known).into_iter().collect();
    if tenants.is_empty() {
        tenants = of_named(path, host, state);
    }
    tenants
}

/// The tenants that run a release, or are to.
fn of_release(path: &Path, state: &State) -> Vec<TenantName> {
    let mut parts = path.iter().map(|part| part.to_str());
    let (Some(Some(application)), Some(Some(version))) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let is =
        |id: &ReleaseId| (id.application.as_str(), id.version.as_str()) == (application, version);
    state.with_records(|records| {
        let of = records
            .iter()
            .filter(|(_, record)| needed_by(record).iter().any(is));
        of.map(|(name, _)| name.clone()).collect()
    })
}

/// The tenants whose manifests name this file.
fn of_named(path: &Path, host: &HostSpec, state: &State) -> Vec<TenantName> {
    state.with_records(|records| {
        let concerned = |record: &&Record| named_files::concerns(record, host, path);
        let named = records.values().filter(concerned);
        named.map(|record| record.name().clone()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_tenants_site_may_be_what_kept_sites_from_going_live() {
        let host = HostSpec::default();
        let is = |path: &str| is_foreign_proxy(&HostEvent::Path(path.into()), &host);
        assert!(is("/etc/nginx/nginx.conf") && is("/etc/nginx/conf.d/other.conf"));
        assert!(!is("/etc/nginx/conf.d/cb-ky04.conf") && !is("/etc/nginx/mime.types"));
        assert!(!is("/etc/systemd/system/ky04-api.service"));
    }
}
