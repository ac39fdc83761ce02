//! What a service can see, do and use up: the directives of its unit.
//!
//! A service that was taken over must find nothing of other tenants, of the
//! operator or of the host. Folders are hidden by putting empty ones in their
//! place and showing what is the tenant's own, so that what is added to the host
//! later is hidden too.
//!
//! The kernel keeps every seccomp filter of every process, and systemd makes up
//! to three of one directive. Directives that only forbid what another one does
//! already are therefore not set: `ProtectClock=`, `ProtectHostname=`,
//! `ProtectKernelLogs=`, `ProtectKernelModules=` and `RestrictRealtime=` would
//! add fifteen filters for what needs a capability, is not among
//! `@system-service`, and has no device.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Inputs, Release};
use crate::api::{Limits, Sandbox, SandboxException, Service};
use crate::layout::Layout;
use crate::observed::i360_of;

/// The Host file's folder, and logs.
const HIDDEN: [&str; 2] = ["/etc/cb", "/var/log"];

/// What a service needs of `/run`: the journal, and what names are resolved by.
/// Bus, credentials of others, and sockets of other services are not there.
const RUN: [&str; 3] = [
    "/run/systemd/journal",
    "/run/systemd/resolve",
    "/run/resolvconf",
];

/// Calls of `@system-service` that a service has no need of and that many holes
/// of the kernel were in.
const NO_CALLS: &str = "@keyring io_uring_enter io_uring_register io_uring_setup userfaultfd";

/// Writes the directives.
pub(super) fn write(w: &mut String, inputs: Inputs<'_>, service: &Service, release: &Release) {
    let limits = Limits::of(
        &inputs.tenant.spec.resources,
        &inputs.host.spec.defaults.resources,
    );
    privileges(w);
    system_calls(w, &service.sandbox);
    processes(w, &service.sandbox);
    files(w, inputs, release, &limits);
    resources(w, inputs, &limits);
}

fn privileges(w: &mut String) {
    // In a namespace of users of its own, a service cannot take its files out
    // of the project that the file system counts them by.
    w.push_str(
        "UMask=0077\n\
         NoNewPrivileges=yes\n\
         CapabilityBoundingSet=\n\
         AmbientCapabilities=\n\
         PrivateUsers=yes\n\
         RestrictSUIDSGID=yes\n\
         KeyringMode=private\n\
         NotifyAccess=none\n",
    );
}

fn system_calls(w: &mut String, sandbox: &Sandbox) {
    use SandboxException::{AllSystemCalls, Namespaces, Netlink, Scheduling, WritableCode};
    w.push_str("SystemCallArchitectures=native\nLockPersonality=yes\n");
    if !sandbox.allows(AllSystemCalls) {
        let resources = if sandbox.allows(Scheduling) {
            ""
        } else {
            "@resources "
        };
        let _ = write!(
            w,
            "SystemCallErrorNumber=EPERM\n\
             SystemCallFilter=@system-service\n\
             SystemCallFilter=~@privileged {resources}{NO_CALLS}\n"
        );
    }
    if !sandbox.allows(Namespaces) {
        w.push_str("RestrictNamespaces=yes\n");
    }
    if !sandbox.allows(WritableCode) {
        w.push_str("MemoryDenyWriteExecute=yes\n");
    }
    let netlink = if sandbox.allows(Netlink) {
        " AF_NETLINK"
    } else {
        ""
    };
    let _ = writeln!(
        w,
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6{netlink}"
    );
}

fn processes(w: &mut String, sandbox: &Sandbox) {
    if !sandbox.allows(SandboxException::OtherProcesses) {
        w.push_str("ProtectProc=invisible\nProcSubset=pid\n");
    }
    w.push_str("PrivateIPC=yes\nRemoveIPC=yes\n");
}

fn files(w: &mut String, inputs: Inputs<'_>, release: &Release, limits: &Limits) {
    let Inputs { tenant, host, .. } = inputs;
    let name = &tenant.metadata.name;
    let layout = Layout::new(&host.spec);
    let paths = &host.spec.paths;
    w.push_str(
        "ProtectSystem=strict\n\
         ProtectHome=yes\n\
         PrivateDevices=yes\n\
         DevicePolicy=closed\n\
         ProtectKernelTunables=yes\n\
         ProtectControlGroups=yes\n",
    );
    // A folder on disk would let a tenant fill the disk of all; this is memory
    // of the service, and gone when it stops.
    for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
        let size = limits.temporary;
        let _ = writeln!(
            w,
            "TemporaryFileSystem={folder}:size={size},mode=1777,nosuid,nodev"
        );
    }
    let state = Path::new(paths.state.as_str());
    for folder in [state, Path::new("/run")] {
        let _ = writeln!(
            w,
            "TemporaryFileSystem={}:ro,mode=0755,nosuid,nodev",
            folder.display()
        );
    }
    // A release that was changed is replaced as a whole: its own folder, shown
    // by itself, would stay the old one until the service is restarted.
    let releases = release.path.parent().unwrap_or(&release.path).to_owned();
    let own = [layout.database(name), layout.uploads(name)];
    let _ = write!(
        w,
        "BindReadOnlyPaths={}\n\
         BindPaths={} {}\n",
        releases.display(),
        own[0].display(),
        own[1].display(),
    );
    let _ = writeln!(w, "BindReadOnlyPaths=-{}", RUN.join(" -"));
    let mut shown = vec![releases];
    shown.extend(own);
    let mut hidden: Vec<&str> = HIDDEN.to_vec();
    let of_the_host = [&paths.manifests, &paths.env, &paths.units, &paths.sysusers];
    hidden.extend(of_the_host.map(|path| path.as_str()));
    hidden.extend([host.spec.nginx.sites.as_str(), paths.runtime.as_str()]);
    match (i360_of(tenant, host), &host.spec.shared_services.i360) {
        // The minus lets a service start while the file is missing: a tenant
        // must not be down because the shared database is.
        (Some(path), _) => {
            let _ = writeln!(w, "BindReadOnlyPaths=-{path}");
            shown.push(PathBuf::from(path));
        }
        (None, Some(shared)) => hidden.push(shared.path.as_str()),
        (None, None) => {}
    }
    let _ = writeln!(
        w,
        "InaccessiblePaths=-{}",
        outermost(hidden, &shown).join(" -")
    );
}

/// What is to be hidden, without what is in a hidden folder already, and
/// without a folder that holds something to be shown: all below it would go.
fn outermost<'a>(mut hidden: Vec<&'a str>, shown: &[PathBuf]) -> Vec<&'a str> {
    hidden.sort_unstable();
    hidden.dedup();
    let mut out: Vec<&str> = Vec::new();
    for path in hidden {
        let of = Path::new(path);
        let is_in_another = out.iter().any(|other| of.starts_with(other));
        let has_shown = shown.iter().any(|shown| shown.starts_with(of));
        if !is_in_another && !has_shown && !of.starts_with("/run") {
            out.push(path);
        }
    }
    out
}

fn resources(w: &mut String, inputs: Inputs<'_>, limits: &Limits) {
    let services = u32::try_from(inputs.application.spec.services.len()).unwrap_or(u32::MAX);
    let _ = write!(
        w,
        "MemoryMax={memory}\n\
         MemorySwapMax={memory}\n\
         OOMPolicy=kill\n\
         TasksMax={tasks}\n\
         LimitNPROC={processes}\n\
         LimitFSIZE={}\n\
         LimitNOFILE={}\n\
         LimitCORE=0\n",
        limits.file_size,
        limits.open_files,
        memory = limits.memory,
        tasks = limits.tasks,
        // The kernel counts those of a user, whichever service they are of.
        processes = limits.tasks.saturating_mul(services),
    );
    if let Some(cpu) = &limits.cpu {
        let _ = writeln!(w, "CPUQuota={}%", cpu.millicores().div_ceil(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_not_hidden_with_its_folder() {
        let shown = [PathBuf::from("/srv/cb/tenants/a/db")];
        let hidden = vec![
            "/srv/cb/records",
            "/srv",
            "/etc/cb",
            "/etc/cb/tenants",
            "/run/cb",
        ];
        assert_eq!(outermost(hidden, &shown), ["/etc/cb", "/srv/cb/records"]);
    }
}
