//! What is wrong inside one object that its shape cannot say.

use std::collections::BTreeMap;

use super::{AnyObject, Finding};
use crate::api::{
    Application, DatabaseHooks, Host, Object, PortRange, SecretDelivery, Tenant, Tls,
};
use crate::desired::{CHALLENGES, OPERATOR_VARIABLES};
use crate::types::{EnvName, check_label_key, check_label_value};
use crate::yaml::Path;

/// Variables that systemd sets for a service and that mean nothing, or
/// mislead the program, with another value.
const SET_BY_SYSTEMD: [&str; 9] = [
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
];

/// Who sets this variable, if a manifest must not.
///
/// `PATH`, `LD_PRELOAD` and their like are allowed: they reach only programs
/// that run as the tenant's own user, and are how an allocator or a library is
/// chosen. Whoever writes manifests chooses the programs anyway.
#[must_use]
pub fn reserved_env(name: &str) -> Option<&'static str> {
    let service_port = name
        .strip_prefix("CB_")
        .and_then(|rest| rest.strip_suffix("_PORT"))
        .is_some_and(|service| !service.is_empty());
    if service_port || OPERATOR_VARIABLES.contains(&name) {
        Some("the operator")
    } else if SET_BY_SYSTEMD.contains(&name) {
        Some("systemd")
    } else {
        None
    }
}

/// Checks one object by itself.
#[must_use]
pub fn object(object: &AnyObject) -> Vec<Finding> {
    match object {
        AnyObject::Tenant(of) => tenant(of),
        AnyObject::Application(of) => application(of),
        AnyObject::Host(of) => host(of),
    }
}

/// Checks a tenant by itself.
#[must_use]
pub fn tenant(of: &Tenant) -> Vec<Finding> {
    let mut out = metadata(&of.metadata.labels, &of.metadata.annotations);
    let spec = Path::from(["spec"]);
    let selector = spec.key("placement").key("hostSelector");
    labels(&of.spec.placement.host_selector, &selector, &mut out);
    let domains = spec.key("domains");
    unique(of.spec.domains.iter().map(|d| d.as_str()), &mut out, |n| {
        domains.index(n)
    });
    out.extend(
        of.spec
            .tls
            .as_ref()
            .and_then(|of| tls(of, &spec.key("tls"))),
    );
    let ports = spec.key("ports");
    let mut seen = BTreeMap::new();
    for (service, port) in &of.spec.ports {
        if let Some(other) = seen.insert(port.0, service) {
            let message = format!("port {} is already that of service `{other}`", port.0);
            out.push(
                Finding::new(ports.key(service.as_str()), message).hint("choose another port"),
            );
        }
    }
    let env = spec.key("env");
    for name in of.spec.env.keys() {
        reserved(name.as_str(), env.key(name.as_str()), true, &mut out);
    }
    let refs = spec.key("secretRefs");
    let name_of = |n: usize| refs.index(n).key("name");
    let secrets = &of.spec.secret_refs;
    let names = secrets.iter().map(|secret| secret.name.as_str());
    unique(names, &mut out, name_of);
    for (n, secret) in secrets.iter().enumerate() {
        let sources = [
            secret.file.is_some(),
            secret.credential.is_some(),
            secret.age.is_some(),
            secret.sops.is_some(),
        ];
        let all = "`file`, `credential`, `age` or `sops`";
        out.extend(one_source(&sources, "a secret", all, refs.index(n)));
        if secret.delivery != SecretDelivery::Environment {
            continue;
        }
        let name = secret.name.as_str();
        if let Err(error) = name.parse::<EnvName>() {
            out.push(Finding::new(name_of(n), error.to_string()));
        }
        reserved(name, name_of(n), false, &mut out);
        if of.spec.env.keys().any(|other| other.as_str() == name) {
            let message = format!("`{name}` is set in `spec.env` too");
            out.push(Finding::new(name_of(n), message).hint("remove one of the two"));
        }
    }
    for (n, from) in of.spec.env_from.iter().enumerate() {
        let sources = [from.age.is_some(), from.sops.is_some()];
        let at = spec.key("envFrom").index(n);
        out.extend(one_source(
            &sources,
            "a file of variables",
            "`age` or `sops`",
            at,
        ));
    }
    out
}

fn tls(of: &Tls, at: &Path) -> Option<Finding> {
    let hint = "write `certificateFile` and `keyFile`, or `acme: true`";
    let message = match (of.acme, &of.certificate_file, &of.key_file) {
        (false, Some(_), Some(_)) | (true, None, None) => return None,
        (true, ..) => "a certificate is either issued (`acme`) or in a file, not both",
        (false, None, None) => "it is not said where the certificate comes from",
        (false, None, Some(_)) => "the key has no certificate",
        (false, Some(_), None) => "the certificate has no key",
    };
    Some(Finding::new(at.clone(), message).hint(hint))
}

/// Finds that not just one source is given.
fn one_source(given: &[bool], what: &str, all: &str, at: Path) -> Option<Finding> {
    let message = match given.iter().filter(|given| **given).count() {
        0 => format!("{what} needs a source: {all}"),
        1 => return None,
        _ => format!("{what} has one source: {all}, not several"),
    };
    Some(Finding::new(at, message))
}

/// Checks an Application by itself.
#[must_use]
pub fn application(of: &Application) -> Vec<Finding> {
    let mut out = metadata(&of.metadata.labels, &of.metadata.annotations);
    let spec = Path::from(["spec"]);
    let versions = spec.key("versions");
    let names = of.spec.versions.iter().map(|version| version.name.as_str());
    unique(names, &mut out, |n| versions.index(n).key("name"));
    for (n, version) in of.spec.versions.iter().enumerate() {
        let sources = [
            version.folder.is_some(),
            version.archive.is_some(),
            version.git.is_some(),
        ];
        let message = match sources.iter().filter(|given| **given).count() {
            0 => "a version needs a source: `folder`, `archive` or `git`",
            1 => continue,
            _ => "a version has one source: `folder`, `archive` or `git`, not several",
        };
        out.push(Finding::new(versions.index(n), message));
    }
    let services = spec.key("services");
    let names = of.spec.services.iter().map(|service| service.name.as_str());
    unique(names, &mut out, |n| services.index(n).key("name"));
    let offsets: Vec<_> = of
        .spec
        .services
        .iter()
        .map(|s| s.port_offset.to_string())
        .collect();
    unique(offsets.iter().map(String::as_str), &mut out, |n| {
        services.index(n).key("portOffset")
    });
    for (n, service) in of.spec.services.iter().enumerate() {
        let env = services.index(n).key("env");
        for name in service.env.keys() {
            reserved(name.as_str(), env.key(name.as_str()), true, &mut out);
        }
        let allow = services.index(n).key("sandbox").key("allow");
        let allowed = service.sandbox.allow.iter().map(|of| of.as_str());
        unique(allowed, &mut out, |n| allow.index(n));
    }
    routes(of, &spec.key("routes"), &mut out);
    let file = of.spec.database_file.as_str();
    if file.contains('/') || file.ends_with(".wal") {
        let message = format!("`{file}` is not the name of a database file");
        let hint = "write a file name without `/` that does not end with `.wal` (for example tenant.duckdb)";
        out.push(Finding::new(spec.key("databaseFile"), message).hint(hint));
    }
    out.extend(database_hooks(&of.spec.database, &spec.key("database")));
    out
}

/// A route that nginx never takes, or that takes what is not the tenant's, is a
/// slip.
fn routes(of: &Application, at: &Path, out: &mut Vec<Finding>) {
    let paths = of.spec.routes.iter().map(|route| route.path.as_str());
    unique(paths, out, |n| at.index(n).key("path"));
    for (n, route) in of.spec.routes.iter().enumerate() {
        let (path, service) = (route.path.as_str(), route.service.as_str());
        if path.starts_with(CHALLENGES.trim_end_matches('/')) {
            let message = format!(
                "`{path}` is never sent to a service: authorities ask there before they issue a certificate"
            );
            let finding = Finding::new(at.index(n).key("path"), message);
            out.push(finding.hint("choose another path"));
        }
        if of.spec.service(service).is_none() {
            let names = of.spec.services.iter().map(|service| service.name.as_str());
            let message = format!("there is no service `{service}`");
            let at = at.index(n).key("service");
            out.push(unknown(at, message, service, names));
        }
    }
}

fn database_hooks(of: &DatabaseHooks, at: &Path) -> Option<Finding> {
    let one = |given: &[bool]| given.iter().filter(|given| **given).count() == 1;
    if let Some(migrations) = &of.migrations
        && !one(&[migrations.folder.is_some(), migrations.command.is_some()])
    {
        let message = "migrations are either a `folder` of SQL files or a `command`";
        return Some(Finding::new(at.key("migrations"), message));
    }
    let source = of.schema_version.as_ref()?;
    let given = [
        source.table.is_some(),
        source.command.is_some(),
        source.health,
    ];
    let message = "the schema version is read in one way: `table`, `command` or `health: true`";
    (!one(&given)).then(|| Finding::new(at.key("schemaVersion"), message))
}

/// Checks a Host by itself.
#[must_use]
pub fn host(of: &Host) -> Vec<Finding> {
    let mut out = metadata(&of.metadata.labels, &of.metadata.annotations);
    let PortRange {
        base,
        stride,
        slots,
    } = &of.spec.ports;
    let end = u32::from(base.0) + u32::from(*stride) * u32::from(*slots);
    if end > u16::MAX.into() {
        let message = format!(
            "{slots} slots of {stride} ports from {} end at {end}; the last port is 65535",
            base.0
        );
        let hint = format!(
            "use at most {} slots",
            (65535 - u32::from(base.0)) / u32::from((*stride).max(1))
        );
        out.push(Finding::new(Path::from(["spec", "ports"]), message).hint(hint));
    }
    if let Some(offsite) = &of.spec.backups.offsite
        && offsite.folder.is_some() == offsite.s3.is_some()
    {
        let message = "copies go to one place: a `folder` or `s3`";
        let at = Path::from(["spec", "backups", "offsite"]);
        out.push(Finding::new(at, message));
    }
    if let Some(acme) = &of.spec.certificates.acme
        && !acme.terms_of_service_agreed
    {
        let at = Path::from(["spec", "certificates", "acme", "termsOfServiceAgreed"]);
        let message = "an authority issues nothing to who does not agree to its terms of service";
        let hint = "read them, and write `true`; or remove `acme`";
        out.push(Finding::new(at, message).hint(hint));
    }
    out.extend(super::sinks::check(&of.spec.alerts));
    out.extend(super::source::check(&of.spec.source));
    out
}

/// Checks an Application against the Host that is to run it.
#[must_use]
pub fn application_on(of: &Application, ports: &PortRange) -> Vec<Finding> {
    let services = Path::from(["spec", "services"]);
    let too_large = of
        .spec
        .services
        .iter()
        .enumerate()
        .filter(|(_, s)| s.port_offset >= ports.stride);
    too_large
        .map(|(n, service)| {
            let message = format!(
                "the offset {} is not in a slot of {} ports",
                service.port_offset, ports.stride
            );
            Finding::new(services.index(n).key("portOffset"), message).hint(format!(
                "use 0 to {}, or raise the Host's `ports.stride`",
                ports.stride.saturating_sub(1)
            ))
        })
        .collect()
}

/// What an Application must have for a tenant to run: its version, and the
/// services that its fixed ports name.
#[must_use]
pub fn tenant_of(of: &Tenant, application: &Application) -> Vec<Finding> {
    let mut out = Vec::new();
    let spec = Path::from(["spec"]);
    if application.spec.source(&of.spec.version).is_none() {
        let names = application
            .spec
            .versions
            .iter()
            .map(|version| version.name.as_str());
        let version = of.spec.version.as_str();
        let message = format!(
            "Application `{}` has no version `{version}`",
            application.name()
        );
        out.push(unknown(spec.key("version"), message, version, names));
    }
    for service in of.spec.ports.keys() {
        if application.spec.service(service.as_str()).is_none() {
            let names = application
                .spec
                .services
                .iter()
                .map(|service| service.name.as_str());
            let message = format!(
                "Application `{}` has no service `{service}`",
                application.name()
            );
            let path = spec.key("ports").key(service.as_str());
            out.push(unknown(path, message, service.as_str(), names).on_key());
        }
    }
    out
}

/// `name` is not known; the nearest one is suggested, or all are listed.
pub(crate) fn unknown<'a>(
    path: Path,
    message: String,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Finding {
    const MAX: usize = 8;
    let finding = Finding::new(path, message);
    if let Some(near) = super::suggest::among(name, known.clone()) {
        return finding.hint(super::suggest::did_you_mean(near));
    }
    let mut names: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return finding;
    }
    let more = names.len().saturating_sub(MAX);
    names.truncate(MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    finding.hint(format!("there is {}{more}", names.join(", ")))
}

fn unique<'a>(
    values: impl Iterator<Item = &'a str>,
    out: &mut Vec<Finding>,
    path: impl Fn(usize) -> Path,
) {
    let mut seen = BTreeMap::new();
    for (n, value) in values.enumerate() {
        if let Some(first) = seen.get(value) {
            let message = format!("`{value}` is already in {}", path(*first));
            out.push(Finding::new(path(n), message).hint("remove one of the two"));
        } else {
            seen.insert(value, n);
        }
    }
}

fn reserved(name: &str, path: Path, on_key: bool, out: &mut Vec<Finding>) {
    if let Some(who) = reserved_env(name) {
        let message = format!("`{name}` is set by {who}");
        let finding = Finding::new(path, message).hint("choose another name");
        out.push(if on_key { finding.on_key() } else { finding });
    }
}

fn metadata(of: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Vec<Finding> {
    /// As in Kubernetes.
    const MAX_ANNOTATIONS: usize = 256 * 1024;
    let mut out = Vec::new();
    let metadata = Path::from(["metadata"]);
    labels(of, &metadata.key("labels"), &mut out);
    let path = metadata.key("annotations");
    for key in annotations.keys() {
        if let Err(error) = check_label_key(key) {
            out.push(Finding::new(path.key(key), error.to_string()).on_key());
        }
    }
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > MAX_ANNOTATIONS {
        let message =
            format!("the annotations have {size} bytes; at most {MAX_ANNOTATIONS} are allowed");
        out.push(Finding::new(path, message));
    }
    out
}

fn labels(of: &BTreeMap<String, String>, path: &Path, out: &mut Vec<Finding>) {
    for (key, value) in of {
        if let Err(error) = check_label_key(key) {
            out.push(Finding::new(path.key(key), error.to_string()).on_key());
        }
        if let Err(error) = check_label_value(value) {
            out.push(Finding::new(path.key(key), error.to_string()));
        }
    }
}
