//! The manifests of what was found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cb_core::adopt::{ANNOTATION, DATABASE, Place, UPLOADS, is_operators};
use cb_core::api::{API_VERSION, Application, Host, Tenant};
use cb_core::certificate::Certificates;
use cb_core::desired::{Desired, Inputs};
use cb_core::layout::Layout;
use cb_core::record::Ports;
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use cb_core::types::{TenantName, Version};
use serde_json::{Map, Value, json};

use super::Args;
use super::judge::{Cost, judge};
use super::scan::{Found, FoundService, FoundTenant};
use super::script::Move;
use crate::error::CommandError;
use crate::object::Object;

/// Where the values of variables go.
const SECRETS: &str = "/etc/cb/secrets";

/// Everything as manifests.
pub(super) struct Imported {
    /// The Application; none if the operator has it.
    pub(super) application: Option<Value>,
    pub(super) tenants: Vec<ImportedTenant>,
    /// What no file says.
    pub(super) unknown: Vec<String>,
}

/// One tenant.
pub(super) struct ImportedTenant {
    pub(super) name: TenantName,
    /// The manifest, without the consent to take anything over.
    pub(super) manifest: Value,
    /// The files that are taken over.
    pub(super) files: Vec<PathBuf>,
    /// The files of secrets that have to be written, with their values.
    pub(super) secrets: Vec<(PathBuf, String)>,
    pub(super) cost: Cost,
    /// The commands that bring it where the operator has it, or why there are
    /// none.
    pub(super) script: Result<String, String>,
    pub(super) unknown: Vec<String>,
}

impl Imported {
    /// The manifests, the Application first.
    pub(super) fn objects(&self) -> Vec<Value> {
        let tenants = self.tenants.iter().map(|tenant| tenant.manifest.clone());
        self.application.iter().cloned().chain(tenants).collect()
    }
}

impl ImportedTenant {
    /// The manifest with the consent to take its files over.
    pub(super) fn consenting(&self) -> Value {
        let mut out = self.manifest.clone();
        let paths: Vec<String> = self
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        out["metadata"]["annotations"][ANNOTATION] = paths.join(" ").into();
        out
    }
}

/// Describes what was found, with the Application that the operator has or one
/// that is derived from the units.
pub(super) fn describe(
    found: &Found,
    host: &Host,
    args: &Args,
    known: Option<&Object>,
) -> Result<Imported, CommandError> {
    let layout = Layout::new(&host.spec);
    let versions: Vec<Version> = found
        .tenants
        .iter()
        .map(|tenant| version(tenant, args))
        .collect::<Result<_, _>>()?;
    let derived = match known {
        Some(_) => None,
        None => Some(application(found, &versions, layout, args)?),
    };
    let spec = match (known, &derived) {
        (Some(known), _) => known.value()["spec"].clone(),
        (None, derived) => derived
            .as_ref()
            .map_or(Value::Null, |one| one["spec"].clone()),
    };
    let value = json!({
        "apiVersion": API_VERSION,
        "kind": "Application",
        "metadata": {"name": args.application},
        "spec": spec,
    });
    let read: Application = serde_json::from_value(value).map_err(|error| {
        CommandError::failed(format!("application \"{}\": {error}", args.application))
    })?;
    let mut tenants = Vec::new();
    for (tenant, version) in found.tenants.iter().zip(&versions) {
        tenants.push(one(tenant, version, (&read, host), args)?);
    }
    let mut unknown = vec![
        "which variables are secrets: all are, but for those of --plain".to_owned(),
        "limits of memory and processor, backups and policies: the Host's defaults hold".to_owned(),
    ];
    if derived.is_some() && args.health.is_none() {
        unknown.push("how to ask a service whether it works: give --health PATH".into());
    }
    if derived.is_some() {
        unknown.push("how a database is migrated: spec.database of the Application says it".into());
    }
    Ok(Imported {
        application: derived,
        tenants,
        unknown,
    })
}

/// Names of folders that say no version.
const NO_VERSIONS: [&str; 4] = ["current", "latest", "release", "app"];

/// The version that a tenant runs: its variable, or the name of its folder.
fn version(tenant: &FoundTenant, args: &Args) -> Result<Version, CommandError> {
    let service = tenant.services.first();
    let folder = service.and_then(FoundService::folder);
    let folder = folder
        .as_deref()
        .and_then(|path| path.file_name()?.to_str());
    let folder = folder.filter(|name| !NO_VERSIONS.contains(name));
    let variable = service.and_then(|service| service.environment.get("CB_VERSION"));
    let text = args
        .version
        .as_deref()
        .or(variable.map(String::as_str))
        .or(folder);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        CommandError::failed(format!("{}: its version is not known", tenant.name))
            .hint("--version says it for all tenants")
    })
}

/// The Application that the first tenant's units describe. The others must
/// have the same, or they are restarted.
fn application(
    found: &Found,
    versions: &[Version],
    layout: Layout<'_>,
    args: &Args,
) -> Result<Value, CommandError> {
    let Some(first) = found.tenants.first() else {
        return Err(CommandError::failed("no tenant was found"));
    };
    let base = first
        .services
        .iter()
        .map(|service| service.port)
        .min()
        .unwrap_or_default();
    let services: Vec<Value> = first
        .services
        .iter()
        .map(|service| described((service, first), base, layout, args))
        .collect::<Result<_, _>>()?;
    let mut sources: Vec<Value> = Vec::new();
    let mut seen: Vec<&Version> = Vec::new();
    for (tenant, version) in found.tenants.iter().zip(versions) {
        if seen.contains(&version) {
            continue;
        }
        seen.push(version);
        let folder = tenant.services.first().and_then(FoundService::folder);
        let folder = folder.unwrap_or_else(|| layout.release(&args.application, version));
        sources.push(json!({"name": version, "folder": {"path": folder}}));
    }
    let mut spec = json!({"versions": sources, "services": services, "routes": routes(first)});
    if let Some(name) = database_file(first, layout) {
        spec["databaseFile"] = name.into();
    }
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": "Application",
        "metadata": {"name": args.application},
        "spec": spec,
    }))
}

/// The name of a database that is in the folder where it has to be.
fn database_file(tenant: &FoundTenant, layout: Layout<'_>) -> Option<String> {
    let folder = layout.database(&tenant.name);
    let values = tenant
        .services
        .iter()
        .flat_map(|service| service.environment.values());
    let mut paths = values.map(Path::new);
    let path = paths.find(|path| path.parent() == Some(&folder))?;
    Some(path.file_name()?.to_str()?.to_owned())
}

fn described(
    (service, tenant): (&FoundService, &FoundTenant),
    base: u16,
    layout: Layout<'_>,
    args: &Args,
) -> Result<Value, CommandError> {
    let folder = service.unit.directory.clone().unwrap_or_default();
    let program = service.unit.command.first().cloned().unwrap_or_default();
    let command = program
        .strip_prefix(&folder)
        .map(|rest| rest.trim_start_matches('/').to_owned())
        .filter(|rest| !folder.is_empty() && !rest.is_empty())
        .ok_or_else(|| {
            CommandError::failed(format!(
                "{}: its program {program} is not in its WorkingDirectory",
                service.file.display()
            ))
            .hint("write the Application yourself, apply it, and name it with --application")
        })?;
    let port = service.port.to_string();
    let arguments = service.unit.command.iter().skip(1);
    let arguments: Vec<String> = arguments
        .map(|word| general(word, tenant, layout).replace(&port, "$(PORT)"))
        .collect();
    let mut out = json!({
        "name": service.name,
        "command": command,
        "portOffset": service.port - base,
    });
    if !arguments.is_empty() {
        out["args"] = arguments.into();
    }
    if let Some(path) = &args.health {
        out["healthCheck"] = json!({"path": path});
    }
    Ok(out)
}

/// An argument with variables for what is one tenant's own, so that it means
/// the same of every tenant.
fn general(word: &str, tenant: &FoundTenant, layout: Layout<'_>) -> String {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (format!("{name}="), value),
        None => (String::new(), word),
    };
    let path = Path::new(value);
    let variable = match value {
        value if value == tenant.name.as_str() => "CB_TENANT",
        value if value.ends_with(".duckdb") => DATABASE,
        _ if path == layout.uploads(&tenant.name) => UPLOADS,
        _ => return word.to_owned(),
    };
    format!("{name}$({variable})")
}

/// The routes of the tenant's sites, or the usual ones if it has none.
fn routes(tenant: &FoundTenant) -> Vec<Value> {
    let name = |port: u16| {
        let mut services = tenant.services.iter();
        services
            .find(|service| service.port == port)
            .map(|service| &service.name)
    };
    let mut out: Vec<Value> = Vec::new();
    for (path, port) in tenant.sites.iter().flat_map(|(_, site)| &site.routes) {
        if let Some(service) = name(*port) {
            let route = json!({"path": path, "service": service});
            if !out.contains(&route) {
                out.push(route);
            }
        }
    }
    if out.is_empty()
        && let Some(last) = tenant.services.last()
    {
        out.push(json!({"path": "/", "service": last.name}));
    }
    out
}

fn one(
    found: &FoundTenant,
    version: &Version,
    (application, host): (&Application, &Host),
    args: &Args,
) -> Result<ImportedTenant, CommandError> {
    let mut domains: Vec<String> = Vec::new();
    let mut tls = None;
    for (_, site) in &found.sites {
        domains.extend(
            site.domains
                .iter()
                .filter(|d| !domains.contains(d))
                .cloned()
                .collect::<Vec<_>>(),
        );
        tls = tls.or(site.certificate.clone());
    }
    let ports: Map<String, Value> = found
        .services
        .iter()
        .map(|service| (service.name.to_string(), service.port.into()))
        .collect();
    let (variables, mut unknown) = variables(found);
    let mut env = Map::new();
    let (mut references, mut secrets): (Vec<Value>, Vec<(PathBuf, String)>) = Default::default();
    for (name, value) in variables {
        if args.plain.contains(&name) {
            env.insert(name, value.into());
            continue;
        }
        let path = Path::new(SECRETS).join(found.name.as_str()).join(&name);
        references.push(json!({"name": name, "file": path, "delivery": "Environment"}));
        secrets.push((path, value));
    }
    let display = found
        .services
        .first()
        .and_then(|s| s.environment.get("CB_DISPLAY_NAME"));
    let mut spec = json!({
        "application": args.application,
        "version": version,
        "ports": ports,
    });
    let mut set = |field: &str, value: Value, is_there: bool| {
        if is_there {
            spec[field] = value;
        }
    };
    set("displayName", json!(display), display.is_some());
    set("domains", json!(domains), !domains.is_empty());
    if let Some((certificate, key)) = &tls {
        set(
            "tls",
            json!({"certificateFile": certificate, "keyFile": key}),
            true,
        );
    }
    set("env", env.clone().into(), !env.is_empty());
    set("secretRefs", references.into(), !secrets.is_empty());
    if found.sites.is_empty() {
        unknown.push("no site of nginx passes to its ports: it has no domains".into());
    }
    let data = Layout::new(&host.spec).data(&found.name);
    if let Some(home) = found.home.as_ref().filter(|home| **home != data) {
        unknown.push(format!(
            "its user's home is {}; it is shown as drift until `usermod --home {} cb-{}`",
            home.display(),
            data.display(),
            found.name
        ));
    }
    let manifest = json!({
        "apiVersion": API_VERSION,
        "kind": "Tenant",
        "metadata": {"name": found.name},
        "spec": spec,
    });
    let desired = desired(&manifest, found, (application, host), &secrets)?;
    let judged = judge(found, &desired);
    let script = Move {
        found,
        obstacles: &judged.obstacles,
        place: Place::of(&desired.user, &judged.environment),
        state: Path::new(host.spec.paths.state.as_str()),
        data: &data,
        release: &desired.release.path,
        health: args.health.as_deref(),
    };
    let script = script.script();
    let mut files: Vec<PathBuf> = found.services.iter().map(|s| s.file.clone()).collect();
    files.extend(found.env_files.iter().cloned());
    files.extend(found.sites.iter().map(|(path, _)| path.clone()));
    Ok(ImportedTenant {
        name: found.name.clone(),
        manifest,
        files,
        secrets,
        cost: judged.cost,
        script,
        unknown,
    })
}

/// The variables of all services that are not the operator's own. One that
/// services have different values of cannot be said of a tenant.
fn variables(found: &FoundTenant) -> (BTreeMap<String, String>, Vec<String>) {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut unknown = Vec::new();
    for service in &found.services {
        for (name, value) in service
            .environment
            .iter()
            .filter(|(name, _)| !is_operators(name))
        {
            match out.get(name) {
                Some(other) if other != value => unknown.push(format!(
                    "{name} has different values in its services; that of {} was taken",
                    found.services[0].name
                )),
                Some(_) => {}
                None => drop(out.insert(name.clone(), value.clone())),
            }
        }
    }
    (out, unknown)
}

/// What the operator would make of the manifest.
fn desired(
    manifest: &Value,
    found: &FoundTenant,
    (application, host): (&Application, &Host),
    secrets: &[(PathBuf, String)],
) -> Result<Desired, CommandError> {
    let failed = |why: String| CommandError::failed(format!("tenant {}: {why}", found.name));
    let tenant: Tenant =
        serde_json::from_value(manifest.clone()).map_err(|error| failed(error.to_string()))?;
    let key = FingerprintKey::new([0; 32]);
    let mut opened = BTreeMap::new();
    for reference in &tenant.spec.secret_refs {
        let file = reference
            .file
            .as_ref()
            .map(|file| PathBuf::from(file.as_str()));
        let value = secrets.iter().find(|(path, _)| Some(path) == file.as_ref());
        if let (Some(source), Some((_, value))) = (SecretSource::of(reference), value) {
            let content = SecretValue::new(value.as_bytes(), &key);
            opened.insert(source, Ok(Opened::Content(content)));
        }
    }
    let ports = Ports {
        slot: None,
        by_service: found
            .services
            .iter()
            .map(|s| (s.name.clone(), s.port))
            .collect(),
        skipped: Vec::new(),
    };
    Desired::of(Inputs {
        tenant: &tenant,
        application,
        host,
        ports: &ports,
        secrets: &opened,
        certificates: &Certificates::default(),
    })
    .map_err(|error| failed(error.to_string()))
}
