//! The checks that ask for the operator and what it needs: its Host, folders,
//! ports, nginx, programs and itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cb_core::api::{Host, HostSpec, NetworkIsolation};

use super::Finding;
use super::system::{self, program};
use crate::client::{Client, Error};
use crate::commands::render::{default_host, host_of};
use crate::config::Endpoint;
use crate::error::plain;

/// All of them, in the order of what builds on what.
pub(super) async fn all(host_file: &Path, client: &Client) -> Vec<Finding> {
    let mut out = vec![
        system::user(),
        system::systemd(),
        system::dbus(),
        system::cgroups(),
        system::namespaces(),
        system::clock(),
    ];
    let (finding, host) = host(host_file);
    out.push(finding);
    let spec = &host.spec;
    out.push(folders(spec));
    out.push(system::space(Path::new(spec.paths.state.as_str())));
    out.push(system::reflinks(Path::new(spec.paths.state.as_str())));
    out.push(ports(spec));
    out.push(nginx(spec));
    out.push(nftables(spec));
    out.push(helper());
    out.push(operator(client).await);
    out.push(socket(spec, client.endpoint()));
    out
}

fn host(file: &Path) -> (Finding, Host) {
    const CHECK: &str = "host file";
    let shown = file.display().to_string();
    if !file.exists() {
        let found = format!("{shown} is not there: the defaults are used");
        let mend = "`cbctl init` writes a first one";
        return (Finding::warn(CHECK, found, mend), default_host());
    }
    match host_of(file) {
        Ok(host) => (Finding::ok(CHECK, shown), host),
        Err(error) => {
            let mend = "put it right; `cbctl explain host.spec` describes the fields";
            let found = error.lines().join("; ");
            (Finding::fail(CHECK, found, mend), default_host())
        }
    }
}

/// The operator makes those of its own; what is there must be root's alone to
/// write.
fn folders(spec: &HostSpec) -> Finding {
    const CHECK: &str = "folders";
    let paths = &spec.paths;
    let own = [&paths.manifests, &paths.env, &paths.state, &paths.sysusers];
    let systems = [&paths.units, &spec.nginx.sites];
    for path in own
        .iter()
        .chain(&systems)
        .map(|path| Path::new(path.as_str()))
    {
        let shown = path.display();
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if systems
                    .iter()
                    .any(|known| Path::new(known.as_str()) == path)
                {
                    let mend = format!("install what makes it, or `mkdir -p {shown}`");
                    return Finding::fail(CHECK, format!("{shown} is not there"), mend);
                }
            }
            Err(error) => {
                let found = format!("cannot look at {shown}: {}", plain(&error));
                return Finding::fail(CHECK, found, "run it as root");
            }
            Ok(found) if !found.is_dir() => {
                let mend = "move it away";
                return Finding::fail(CHECK, format!("{shown} is no folder"), mend);
            }
            Ok(found) if found.uid() != 0 || found.mode() & 0o022 != 0 => {
                let mend = format!("chown root: {shown} && chmod go-w {shown}");
                let what = format!("{shown} can be changed by others than root");
                return Finding::fail(CHECK, what, mend);
            }
            Ok(_) => {}
        }
    }
    Finding::ok(CHECK, "as they should be")
}

/// A port that the kernel gives to any outgoing connection may be taken when
/// its service starts.
fn ports(spec: &HostSpec) -> Finding {
    const CHECK: &str = "port range";
    let range = &spec.ports;
    let first = u32::from(range.base.0);
    let last = first + u32::from(range.stride) * u32::from(range.slots) - 1;
    let shown = format!("{first}-{last}");
    if last > 65535 {
        let mend = "lower spec.ports.slots of the Host";
        return Finding::fail(CHECK, format!("{shown} goes beyond 65535"), mend);
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let (Ok(local), Ok(reserved)) = (read("ip_local_port_range"), read("ip_local_reserved_ports"))
    else {
        let mend = "is /proc mounted?";
        return Finding::warn(CHECK, "the kernel's ports cannot be read", mend);
    };
    let bounds: Vec<u32> = local
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let overlaps = matches!(bounds[..], [low, high] if low <= last && first <= high);
    if overlaps && !is_reserved(reserved.trim(), first, last) {
        let mend = format!(
            "the operator reserves it when it starts; or `sysctl -w net.ipv4.ip_local_reserved_ports={shown}`"
        );
        let found = format!("{shown} is not reserved: outgoing connections may take its ports");
        return Finding::warn(CHECK, found, mend);
    }
    Finding::ok(CHECK, format!("{shown} is the services' alone"))
}

/// Whether a list as `1-5,7` has all of a range.
fn is_reserved(list: &str, first: u32, last: u32) -> bool {
    let mut ranges: Vec<(u32, u32)> = list
        .split(',')
        .filter_map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
        })
        .collect();
    ranges.sort_unstable();
    let mut next = first;
    for (low, high) in ranges {
        if low <= next && next <= high {
            next = high + 1;
        }
    }
    next > last
}

fn nginx(spec: &HostSpec) -> Finding {
    const CHECK: &str = "nginx";
    let Some(version) = program("nginx", &["-v"]) else {
        return Finding::fail(CHECK, "it is not installed", "apt install nginx-light");
    };
    let config = spec.nginx.config.as_str();
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) => {
            let found = format!("cannot read {config}: {}", plain(&error));
            return Finding::fail(CHECK, found, "name nginx's file in spec.nginx.config");
        }
    };
    let sites = spec.nginx.sites.as_str();
    if !includes(&text, sites) {
        let mend = format!("add `include {sites}/*.conf;` to the http block of {config}");
        let found = format!("{config} does not include {sites}: no site would be served");
        return Finding::fail(CHECK, found, mend);
    }
    Finding::ok(CHECK, format!("{version}, with the sites in {sites}"))
}

/// Whether a line of nginx's configuration includes a folder's `*.conf`.
fn includes(text: &str, folder: &str) -> bool {
    text.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(what) = line.strip_prefix("include") else {
            return false;
        };
        let what = what.trim().trim_end_matches(';').trim();
        let what = what.trim_matches(|quote| quote == '"' || quote == '\'');
        what.strip_prefix(folder)
            .is_some_and(|rest| matches!(rest.trim_start_matches('/'), "*" | "*.conf"))
    })
}

fn nftables(spec: &HostSpec) -> Finding {
    const CHECK: &str = "nftables";
    match program("nft", &["--version"]) {
        Some(version) => Finding::ok(CHECK, version),
        None if spec.network.isolation == NetworkIsolation::Off => {
            Finding::ok(CHECK, "not installed, and spec.network.isolation is Off")
        }
        None => Finding::warn(
            CHECK,
            "it is not installed: tenants can connect to each other's ports",
            "apt install nftables",
        ),
    }
}

/// The operator looks for it beside itself.
fn helper() -> Finding {
    const CHECK: &str = "database helper";
    let mend = "install cb-operator and cb-duckdb into the same folder";
    let Some(operator) = system::find("cb-operator") else {
        return Finding::fail(CHECK, "cb-operator is not in PATH", mend);
    };
    let helper = operator.with_file_name("cb-duckdb");
    let shown = helper.display().to_string();
    if !helper.exists() {
        return Finding::fail(CHECK, format!("{shown} is not there"), mend);
    }
    match program(&shown, &["--version"]) {
        Some(version) => Finding::ok(CHECK, version),
        None => Finding::fail(
            CHECK,
            format!("{shown} does not run"),
            "is libduckdb.so in /usr/local/lib, and was `ldconfig` run?",
        ),
    }
}

async fn operator(client: &Client) -> Finding {
    const CHECK: &str = "operator";
    match client.version().await {
        Ok(version) => {
            let theirs = version["gitVersion"].as_str().unwrap_or("unknown");
            let own = concat!("v", env!("CARGO_PKG_VERSION"));
            if theirs == own {
                Finding::ok(CHECK, format!("{theirs} runs"))
            } else {
                let found = format!("{theirs} runs, and this cbctl is {own}");
                Finding::warn(CHECK, found, "install both from the same release")
            }
        }
        Err(error) => {
            let mend = match &error {
                Error::Unreachable { .. } => "systemctl enable --now cb-operator",
                _ => "`journalctl -u cb-operator` may say why",
            };
            Finding::fail(CHECK, error.to_string(), mend)
        }
    }
}

fn socket(spec: &HostSpec, endpoint: &Endpoint) -> Finding {
    const CHECK: &str = "socket";
    let Endpoint::Socket(path) = endpoint else {
        return Finding::ok(CHECK, "the operator is asked over TLS");
    };
    let shown = path.display();
    let Ok(found) = std::fs::metadata(path) else {
        let mend = "it is there while the operator runs";
        return Finding::fail(CHECK, format!("{shown} is not there"), mend);
    };
    if found.mode() & 0o007 != 0 {
        let mend = "restart the operator, which sets its mode";
        return Finding::fail(CHECK, format!("{shown} is open to every user"), mend);
    }
    let group = match &spec.api.group {
        None => return Finding::ok(CHECK, format!("{shown}, for root alone")),
        Some(group) => group.to_string(),
    };
    let entries = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let gid = entries.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&group)).then(|| fields.nth(1)?.parse::<u32>().ok())?
    });
    match gid {
        Some(gid) if gid == found.gid() => {
            Finding::ok(CHECK, format!("{shown}, for the group {group}"))
        }
        Some(_) => Finding::warn(
            CHECK,
            format!("{shown} is not the group {group}'s"),
            "restart the operator: it reads the Host when it starts",
        ),
        None => Finding::fail(
            CHECK,
            format!("there is no group {group}"),
            format!("groupadd --system {group}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_be_reserved_in_pieces() {
        assert!(is_reserved("32300-42299", 32300, 42299));
        assert!(is_reserved("1,32300-33000,33001-42300", 32300, 42299));
        assert!(is_reserved("5-6,5", 5, 6));
        assert!(!is_reserved("32300-33000,33002-42300", 32300, 42299));
        assert!(!is_reserved("", 1, 1));
    }

    #[test]
    fn an_include_is_found_in_its_forms() {
        let folder = "/etc/nginx/conf.d";
        for yes in [
            "http {\n  include /etc/nginx/conf.d/*.conf;\n}",
            "include \"/etc/nginx/conf.d/*.conf\"; # sites",
            "include /etc/nginx/conf.d/*;",
        ] {
            assert!(includes(yes, folder), "{yes}");
        }
        for no in [
            "# include /etc/nginx/conf.d/*.conf;",
            "include /etc/nginx/conf.d/one.conf;",
            "include /etc/nginx/sites-enabled/*;",
        ] {
            assert!(!includes(no, folder), "{no}");
        }
    }
}
