//! What must be true of a host, told from what truly runs and is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cb_core::desired::{Credential, Desired, FolderOwner};
use cb_core::plan::{Aspect, Plan};
use cb_core::status::ProblemReason;
use cb_host::memory::{MemoryHost, Node, Snapshot};

use super::operator::{Wanted, World};
use super::scenario::I360;

/// Where the tenant's secrets are; files there have no mark.
const CREDENTIALS: &str = "/etc/cb/tenants/ky04/credentials";

/// Whether a file has the tenant's mark.
fn ours(text: &str) -> bool {
    text.starts_with("# cb-operator: owner=tenant/ky04\n")
}

/// How the host differs from what is wanted, as far as the plan says that
/// nothing keeps it from it.
pub(crate) fn differences(world: &World, wanted: &Wanted, left: &Plan) -> Vec<String> {
    let blocked = |aspect| left.blocked.iter().any(|b| b.aspect == aspect);
    let conflict = left
        .blocked
        .iter()
        .any(|b| b.reason == ProblemReason::Conflict && b.aspect == Aspect::Services);
    if blocked(Aspect::Base) {
        return Vec::new();
    }
    let desired = world.desired(wanted);
    let mut found = Found {
        host: &world.host,
        differences: Vec::new(),
    };
    found.base(&desired);
    if !conflict {
        found.services(&desired, wanted, left);
    }
    if !blocked(Aspect::Proxy) {
        found.site(&desired);
    }
    found.differences
}

struct Found<'a> {
    host: &'a MemoryHost,
    differences: Vec<String>,
}

impl Found<'_> {
    fn check(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.differences.push(what.into());
        }
    }

    fn file(&mut self, path: &Path, content: &str, mode: u32) {
        let node = self.host.node(path);
        let wanted = Node::file(content, mode);
        self.check(
            node.as_ref() == Some(&wanted),
            format!("{}: {node:?}", path.display()),
        );
    }

    fn base(&mut self, desired: &Desired) {
        let user = self.host.user(&desired.user);
        self.check(user.is_some(), "there is no user");
        self.file(
            &desired.sysusers.path,
            &desired.sysusers.content,
            desired.sysusers.mode,
        );
        for folder in &desired.folders {
            let (uid, gid) = match (folder.owner, user) {
                (FolderOwner::Tenant, Some(user)) => (user.uid, user.gid),
                _ => (0, 0),
            };
            let wanted = Node::Folder {
                mode: folder.mode,
                uid,
                gid,
            };
            let node = self.host.node(&folder.path);
            self.check(
                node.as_ref() == Some(&wanted),
                format!("{folder:?} is {node:?}"),
            );
        }
        let release = self.host.node(&desired.release.path);
        self.check(release.is_some(), "the release is not there");
    }

    fn services(&mut self, desired: &Desired, wanted: &Wanted, left: &Plan) {
        self.file(&desired.env.path, &desired.env.content, desired.env.mode);
        let text = |c: &Credential| String::from_utf8_lossy(c.content.reveal()).into_owned();
        let credentials = desired.credentials.iter();
        let credentials: BTreeMap<_, _> = credentials.map(|c| (c.path.clone(), text(c))).collect();
        for (path, content) in &credentials {
            self.file(path, content, Credential::MODE);
        }
        let files = self.host.snapshot().files;
        let stray = files.keys().find(|path| {
            path.parent() == Some(&desired.credentials_folder) && !credentials.contains_key(*path)
        });
        self.check(stray.is_none(), format!("{stray:?} is left over"));
        let mut units = BTreeSet::new();
        for service in &desired.services {
            let unit = service.unit.as_str();
            units.insert(unit);
            self.file(&service.file.path, &service.file.content, service.file.mode);
            self.check(self.host.is_enabled(unit), format!("{unit} is not enabled"));
            let loaded = self.host.loaded(unit);
            let is_loaded = loaded.as_ref() == Some(&service.file.content);
            self.check(is_loaded, format!("systemd has read {unit} as {loaded:?}"));
            let taken = left.blocked.iter().any(|b| {
                b.reason == ProblemReason::PortTaken
                    && b.message.contains(&service.port.to_string())
            });
            let Some(run) = self.host.running(unit) else {
                self.check(
                    taken,
                    format!("{unit} does not run: {:?}", self.host.unit_state(unit)),
                );
                continue;
            };
            if taken {
                continue;
            }
            self.check(
                run.unit_text == service.file.content,
                format!("{unit} runs with another unit text: {}", run.unit_text),
            );
            self.check(
                run.env.as_ref() == Some(&desired.env.content),
                format!("{unit} runs with another environment: {:?}", run.env),
            );
            self.check(
                run.credentials == credentials,
                format!("{unit} runs with other credentials: {:?}", run.credentials),
            );
            let has_i360 = wanted.tenant.spec.database.i360 && self.host.node(I360).is_some();
            self.check(
                !has_i360 || run.i360,
                format!("{unit} runs without the i360 database"),
            );
        }
        let snapshot = self.host.snapshot();
        for (unit, run) in &snapshot.running {
            // Where somebody put a file of theirs, hands are off.
            let theirs = ["/etc/systemd/system", "/usr/lib/systemd/system"]
                .iter()
                .any(|folder| {
                    let node = snapshot.files.get(&Path::new(folder).join(unit));
                    node.is_some_and(|node| node.content().is_some_and(|text| !ours(text)))
                });
            let left_over = ours(&run.unit_text) && !theirs && !units.contains(unit.as_str());
            self.check(!left_over, format!("{unit} still runs"));
        }
    }

    fn site(&mut self, desired: &Desired) {
        let path = Path::new("/etc/nginx/conf.d/cb-ky04.conf");
        match &desired.site {
            Some(site) => {
                self.file(path, &site.content, site.mode);
                let served = self.host.served(path);
                let is_served = served.as_ref() == Some(&site.content);
                self.check(is_served, format!("nginx serves {served:?}"));
            }
            None => {
                // A site that somebody else put there stays.
                let file = self.host.content(path);
                if file.as_ref().is_none_or(|text| ours(text)) {
                    let served = self.host.served(path);
                    self.check((file, served) == (None, None), "there is still a site");
                }
            }
        }
    }
}

/// What is left of a tenant that was removed.
pub(crate) fn leftovers(snapshot: &Snapshot, with_data: bool) -> Vec<String> {
    let mut left = Vec::new();
    for (path, node) in &snapshot.files {
        let kept = path.starts_with("/etc/sysusers.d") || path.starts_with("/etc/cb/tenants");
        let archived = path.starts_with("/var/lib/cb/backups");
        let is_ours = node.content().is_some_and(ours) || path.starts_with(CREDENTIALS);
        if is_ours && !(archived || kept && !with_data) {
            left.push(path.display().to_string());
        }
    }
    let links = snapshot.files.iter().filter(|(path, node)| {
        matches!(node, Node::Link(_)) && !path.ends_with("ky04-other.service")
    });
    left.extend(links.map(|(path, _)| path.display().to_string()));
    let running = snapshot
        .running
        .iter()
        .filter(|(_, run)| ours(&run.unit_text));
    left.extend(running.map(|(unit, _)| format!("{unit} runs")));
    let loaded = snapshot.loaded.iter().filter(|(_, text)| ours(text));
    left.extend(loaded.map(|(unit, _)| format!("{unit} is loaded")));
    let served = snapshot.served.iter().filter(|(_, text)| ours(text));
    left.extend(served.map(|(site, _)| format!("{} is served", site.display())));
    if with_data {
        left.extend(snapshot.users.get("cb-ky04").map(|_| "the user".to_owned()));
    }
    left
}

/// What is not the tenant's: all that does not bear its name, and what bears
/// it without the mark.
pub(crate) fn foreign(snapshot: &Snapshot) -> Snapshot {
    let shared = |path: &Path| {
        path.starts_with("/var/lib/cb/pending") || path.starts_with("/var/lib/cb/releases")
    };
    let mut foreign = snapshot.clone();
    foreign.files.retain(|path, node| {
        let named = path.to_string_lossy().contains("ky04");
        match node {
            Node::File { content, .. } => {
                let ours = ours(content) || path.starts_with(CREDENTIALS);
                !shared(path) && !ours && !path.starts_with("/var/lib/cb/")
            }
            _ => !named && !shared(path),
        }
    });
    foreign.users.retain(|name, _| name != "cb-ky04");
    foreign.running.retain(|_, run| !ours(&run.unit_text));
    let running = foreign.running.clone();
    foreign.units.retain(|unit, _| running.contains_key(unit));
    // With a unit of ours gone, systemd reads the one it was in front of.
    foreign.loaded.retain(|unit, _| running.contains_key(unit));
    foreign.served.retain(|_, text| !ours(text));
    foreign
}

/// Whether the tenant's data is where it was, or in the backups.
pub(crate) fn data_is_kept(host: &MemoryHost) -> bool {
    ["their data", "their flyer"].iter().all(|content| {
        host.snapshot()
            .files
            .iter()
            .any(|(path, node)| node.content() == Some(content) && path.starts_with("/var/lib/cb"))
    })
}
