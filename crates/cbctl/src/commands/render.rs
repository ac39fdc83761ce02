//! `cbctl render`: the files that manifests come to, without a host.
//!
//! Ports are those that an empty host would give, in the order of the tenants'
//! names. Secrets are not read: a word stands for each (law 11).

use std::collections::BTreeMap;
use std::path::Path;

use cb_core::api::{Application, Host, Tenant};
use cb_core::certificate::Certificates;
use cb_core::desired::{Desired, Inputs, ManagedFile};
use cb_core::manifest::{self, AnyObject};
use cb_core::ports::{Taken, assign};
use cb_core::record::Ports;
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use cb_core::types::{ObjectName, TenantName};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::follow::tenant as tenant_name;
use super::{refuse, texts};
use crate::cli::{Context, Done};
use crate::error::{CommandError, plain};
use crate::manifests::{self, Files, Folders};
use crate::output::{Format, clean, document};

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The files of a tenant, its Application and, if it is not the default one, the Host are read.
Ports that no manifest fixes are those of an empty host. Secrets are neither read nor shown.

Examples:
  cbctl render -f manifests/
  cbctl render ky04 -f manifests/ -f host.yaml --only site"
)]
pub(crate) struct Args {
    /// Only these tenants
    #[arg(value_name = "TENANT")]
    tenants: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Only files of this sort
    #[arg(long, value_enum, value_name = "SORT")]
    only: Vec<Sort>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Units of services
    Units,
    /// nginx sites
    Site,
    /// `.env` files
    Env,
    /// Users
    User,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    if args.files.filename.is_empty() {
        return Err(CommandError::usage("you must say which manifests")
            .hint("cbctl render -f FILE; a folder is read with all in it"));
    }
    let objects = Objects::read(args, context)?;
    let names = args.tenants.iter().map(|word| tenant_name(word));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if let Some(unknown) = names
        .iter()
        .find(|name| !objects.tenants.contains_key(name.as_str()))
    {
        let message = format!("the manifests have no tenant \"{unknown}\"");
        return Err(CommandError::failed(message));
    }
    let mut files: Vec<(TenantName, Sort, ManagedFile)> = Vec::new();
    let mut taken = Taken::default();
    for (name, tenant) in &objects.tenants {
        let desired = objects.desired(tenant, &mut taken)?;
        if names.is_empty() || names.iter().any(|wanted| wanted == name.as_str()) {
            let of = parts(desired).into_iter();
            files.extend(of.map(|(sort, file)| (name.clone(), sort, file)));
        }
    }
    files.retain(|(_, sort, _)| args.only.is_empty() || args.only.contains(sort));
    match context.output {
        Some(format) => {
            let items: Vec<Value> = files
                .iter()
                .map(|(name, _, file)| {
                    json!({"tenant": name, "path": file.path, "mode": format!("{:04o}", file.mode),
                           "content": file.content})
                })
                .collect();
            let text = document(&json!({"items": items}), format)?;
            context.ui.print(&text);
        }
        None => {
            for (n, (_, _, file)) in files.iter().enumerate() {
                let gap = if n == 0 { "" } else { "\n" };
                let head = format!("{gap}### {} ({:04o})\n", file.path.display(), file.mode);
                context.ui.print(&head);
                context.ui.print(&clean(&file.content));
            }
        }
    }
    Ok(0)
}

/// The objects of the manifests.
struct Objects {
    host: Host,
    applications: BTreeMap<ObjectName, Application>,
    tenants: BTreeMap<TenantName, Tenant>,
}

impl Objects {
    fn read(args: &Args, context: &Context) -> Result<Self, CommandError> {
        let sources = manifests::read(&args.files, Folders::Operator)?;
        let mut errors = manifests::errors(&sources);
        errors.extend(manifests::named_twice(&sources));
        if !errors.is_empty() {
            return Err(refuse(
                &context.ui,
                &texts(&errors),
                "nothing can be rendered",
            ));
        }
        let mut out = Self {
            host: default_host(),
            applications: BTreeMap::new(),
            tenants: BTreeMap::new(),
        };
        let documents = sources.iter().flat_map(|source| &source.file.documents);
        for object in documents.filter_map(|document| document.object.clone()) {
            match object {
                AnyObject::Host(host) => out.host = Host::clone(&host),
                AnyObject::Application(application) => {
                    let application = Application::clone(&application);
                    out.applications
                        .insert(application.metadata.name.clone(), application);
                }
                AnyObject::Tenant(tenant) => {
                    let tenant = Tenant::clone(&tenant);
                    out.tenants.insert(tenant.metadata.name.clone(), tenant);
                }
            }
        }
        if out.tenants.is_empty() {
            return Err(CommandError::failed("the manifests have no tenant"));
        }
        Ok(out)
    }

    /// What a tenant comes to. Its ports are taken from then on.
    fn desired(&self, tenant: &Tenant, taken: &mut Taken) -> Result<Desired, CommandError> {
        let name = &tenant.metadata.name;
        let failed = |why: String| CommandError::failed(format!("tenant {name}: {why}"));
        let application = self
            .applications
            .get(&tenant.spec.application)
            .ok_or_else(|| {
                failed(format!(
                    "the manifests have no application \"{}\"",
                    tenant.spec.application
                ))
                .hint("give its file too, with another -f")
            })?;
        let services = &application.spec.services;
        let ports = assign(
            &self.host.spec.ports,
            services,
            &tenant.spec.ports,
            &Ports::default(),
            None,
            taken,
        )
        .map_err(|error| failed(error.to_string()))?;
        taken
            .slots
            .extend(ports.slot.map(|slot| (slot, name.clone())));
        taken
            .records
            .extend(ports.by_service.values().map(|port| (*port, name.clone())));
        Desired::of(Inputs {
            tenant,
            application,
            host: &self.host,
            ports: &ports,
            secrets: &hidden(tenant),
            certificates: &Certificates::default(),
        })
        .map_err(|error| failed(error.to_string()))
    }
}

/// The Host of a file; the default one if there is none.
pub(super) fn host_of(file: &Path) -> Result<Host, CommandError> {
    let shown = file.display().to_string();
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(default_host()),
        Err(error) => {
            let message = format!("cannot read {shown}: {}", plain(&error));
            return Err(CommandError::failed(message));
        }
    };
    let read = manifest::parse(&shown, &bytes);
    let object = match read.documents.as_slice() {
        [document] => document.object.clone(),
        _ => None,
    };
    match object {
        Some(AnyObject::Host(host)) => Ok(Host::clone(&host)),
        _ => {
            let why = read.errors.first().map(ToString::to_string);
            let why = why.unwrap_or_else(|| format!("{shown} is not one Host"));
            Err(CommandError::failed(why))
        }
    }
}

/// The Host of a machine that has no file for it.
pub(super) fn default_host() -> Host {
    serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: localhost}}",
    )
    .expect("every field of a Host's spec has a default")
}

/// A word for each secret.
fn hidden(tenant: &Tenant) -> BTreeMap<SecretSource, Result<Opened, String>> {
    let key = FingerprintKey::new([0; 32]);
    let word = || SecretValue::new(HIDDEN, &key);
    let mut out: BTreeMap<SecretSource, Result<Opened, String>> = BTreeMap::new();
    for secret in &tenant.spec.secret_refs {
        let Some(source) = SecretSource::of(secret) else {
            continue;
        };
        let values = out.entry(source).or_insert_with(|| {
            Ok(match &secret.sops {
                Some(_) => Opened::Values(Vec::new()),
                None if secret.credential.is_some() => Opened::Credential {
                    sealed: word(),
                    value: word(),
                },
                None => Opened::Content(word()),
            })
        });
        if let (Ok(Opened::Values(values)), Some(sops)) = (values, &secret.sops) {
            let place = sops.key.to_string();
            if values.iter().all(|(known, _)| *known != place) {
                values.push((place, word()));
            }
        }
    }
    // Not even the names in it are known.
    for from in tenant.spec.env_from.iter().filter_map(SecretSource::of_env) {
        out.entry(from)
            .or_insert_with(|| Ok(Opened::Values(Vec::new())));
    }
    out
}

/// The files in the order they are written.
fn parts(desired: Desired) -> Vec<(Sort, ManagedFile)> {
    let mut out = vec![(Sort::User, desired.sysusers), (Sort::Env, desired.env)];
    let units = desired.services.into_iter();
    out.extend(units.map(|service| (Sort::Units, service.file)));
    out.extend(desired.site.map(|site| (Sort::Site, site)));
    out
}
