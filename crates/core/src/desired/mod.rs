//! What one tenant means for the host: its user, folders, files and units,
//! with the text of each.
//!
//! Data flows from the objects, the ports and a few facts of the host
//! ([`Inputs`]) into [`Desired`]. Nothing here compares with what is there;
//! that is [`crate::plan`].

mod credentials;
pub(crate) mod dotenv;
mod env;
mod sandbox;
mod site;
mod unit;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::api::{Application, Build, HealthCheck, Host, SandboxException, Tenant, VersionSource};
use crate::certificate::{self, Certificates, Facts, Pair};
use crate::digest;
use crate::layout::{Layout, unit_name, user_name};
use crate::mark::Owner;
use crate::record::Ports;
use crate::secret::{Opened, SecretSource};
use crate::types::{ObjectName, TenantName, Version};

pub use credentials::Credential;
use credentials::Delivered;
pub use env::{OPERATOR_VARIABLES, port_variable};
pub use site::CHALLENGES;

/// Everything that a desired state is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Its Application.
    pub application: &'a Application,
    /// The host.
    pub host: &'a Host,
    /// The tenant's ports; one for each service.
    pub ports: &'a Ports,
    /// What was read of the tenant's secrets, by source.
    pub secrets: &'a BTreeMap<SecretSource, Result<Opened, String>>,
    /// What was seen of the tenant's certificates.
    pub certificates: &'a Certificates,
}

/// What should be on the host for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The tenant.
    pub tenant: TenantName,
    /// Its Linux user.
    pub user: String,
    /// The definition of the user, for systemd-sysusers.
    pub sysusers: ManagedFile,
    /// Folders, parents first.
    pub folders: Vec<Folder>,
    /// The release that its services run.
    pub release: Release,
    /// The `.env` file.
    pub env: ManagedFile,
    /// The files that the services load credentials from.
    pub credentials: Vec<Credential>,
    /// The folder of these files; nothing else belongs there.
    pub credentials_folder: PathBuf,
    /// The digest of the environment and the credentials. It may be kept: the
    /// secrets in it are their fingerprints.
    pub inputs_revision: String,
    /// The services, in the order they are started.
    pub services: Vec<DesiredService>,
    /// The nginx site, if the tenant has domains.
    pub site: Option<ManagedFile>,
    /// What there is for HTTPS, if the tenant has domains and `spec.tls`.
    pub tls: Option<DesiredTls>,
    /// Where nginx serves the tenant.
    pub urls: Vec<String>,
}

/// What the site needs for HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredTls {
    /// The certificate that is served, with its key, in a file for nginx, and
    /// what it says; absent while there is none.
    pub certificate: Option<(ManagedFile, Facts)>,
    /// Why it is not the one that the manifest names.
    pub trouble: Option<String>,
    /// Whether the site has to be left as it is: the manifest names a
    /// certificate, and there is none that can be used.
    pub blocked: bool,
}

/// A file that the operator writes. It belongs to root.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its whole content; the first line is the ownership mark.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

// Content may hold secrets (law 11).
impl fmt::Debug for ManagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:o}, {} bytes)",
            self.path.display(),
            self.mode,
            self.content.len()
        )
    }
}

impl ManagedFile {
    /// The digest of the content.
    #[must_use]
    pub fn digest(&self) -> String {
        digest::of_content(self.content.as_bytes())
    }
}

/// A folder that the operator makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is.
    pub owner: FolderOwner,
}

/// Whose a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderOwner {
    /// root's.
    Root,
    /// The tenant's user's.
    Tenant,
}

/// A release and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The Application.
    pub application: ObjectName,
    /// The version.
    pub version: Version,
    /// Where it comes from.
    pub source: VersionSource,
    /// How it is made out of its source; without, the source is the release.
    pub build: Option<Build>,
    /// The shared folder it is installed in.
    pub path: PathBuf,
}

/// One service of the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    /// Its name in the Application.
    pub name: ObjectName,
    /// Its unit.
    pub unit: String,
    /// The unit's file.
    pub file: ManagedFile,
    /// Its port.
    pub port: u16,
    /// How to ask whether it works.
    pub health_check: Option<HealthCheck>,
    /// What it may do that services may not.
    pub exceptions: Vec<SandboxException>,
    /// The digest of all that it is started with: a service that was started
    /// with another revision must be restarted.
    pub revision: String,
}

/// Why there is no desired state: the objects do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesireError {
    /// The Application does not have the version.
    #[error("spec.version: application `{application}` has no version `{version}`; it has {known}")]
    UnknownVersion {
        /// The Application.
        application: ObjectName,
        /// The version.
        version: Version,
        /// The versions it has, in words.
        known: String,
    },
    /// `spec.ports` names a service that the Application does not have.
    #[error("spec.ports.{service}: application `{application}` has no service `{service}`")]
    UnknownService {
        /// The Application.
        application: ObjectName,
        /// The service.
        service: ObjectName,
    },
    /// A secret cannot be delivered.
    #[error("{field}: {name} cannot be read from {source_file}: {reason}")]
    Secret {
        /// The field of the manifest.
        field: String,
        /// The secret's name.
        name: String,
        /// The file, as the manifest has it.
        source_file: String,
        /// Why.
        reason: String,
    },
    /// A file of environment variables cannot be delivered.
    #[error("{field}: the variables in {source_file} cannot be read: {reason}")]
    Variables {
        /// The field of the manifest.
        field: String,
        /// The file, as the manifest has it.
        source_file: String,
        /// Why.
        reason: String,
    },
    /// A certificate is to be issued and the Host does not say by whom.
    #[error("spec.tls.acme: this Host has no certificates.acme that would issue a certificate")]
    NoAuthority,
    /// A service's offset does not fit in the Host's slots.
    #[error(
        "application `{application}`: service `{service}` has portOffset {offset}, but a slot of this host has {stride} ports (ports.stride)"
    )]
    OffsetOutsideSlot {
        /// The Application.
        application: ObjectName,
        /// The service.
        service: ObjectName,
        /// Its offset.
        offset: u16,
        /// The size of a slot.
        stride: u16,
    },
}

/// Checks that a tenant, its Application and the host fit together; what is
/// checked needs no ports yet.
///
/// # Errors
/// The first thing that does not fit.
pub fn check(tenant: &Tenant, application: &Application, host: &Host) -> Result<(), DesireError> {
    let name = || application.metadata.name.clone();
    if application.spec.source(&tenant.spec.version).is_none() {
        let known: Vec<_> = application
            .spec
            .versions
            .iter()
            .map(|v| format!("`{}`", v.name))
            .collect();
        return Err(DesireError::UnknownVersion {
            application: name(),
            version: tenant.spec.version.clone(),
            known: known.join(", "),
        });
    }
    if let Some(service) = tenant
        .spec
        .ports
        .keys()
        .find(|s| application.spec.service(s.as_str()).is_none())
    {
        return Err(DesireError::UnknownService {
            application: name(),
            service: service.clone(),
        });
    }
    let acme = tenant.spec.tls.as_ref().is_some_and(|tls| tls.acme);
    if acme && host.spec.certificates.acme.is_none() {
        return Err(DesireError::NoAuthority);
    }
    let stride = host.spec.ports.stride;
    match application
        .spec
        .services
        .iter()
        .find(|s| s.port_offset >= stride)
    {
        Some(service) => Err(DesireError::OffsetOutsideSlot {
            application: name(),
            service: service.name.clone(),
            offset: service.port_offset,
            stride,
        }),
        None => Ok(()),
    }
}

impl Desired {
    /// The desired state of a tenant.
    ///
    /// # Errors
    /// [`DesireError`], if the objects do not fit together.
    pub fn of(inputs: Inputs<'_>) -> Result<Self, DesireError> {
        let Inputs {
            tenant,
            application,
            host,
            ..
        } = inputs;
        check(tenant, application, host)?;
        let name = &tenant.metadata.name;
        let layout = Layout::new(&host.spec);
        let version = &tenant.spec.version;
        let source = application
            .spec
            .source(version)
            .expect("`check` found it")
            .clone();
        let release = Release {
            application: application.metadata.name.clone(),
            version: version.clone(),
            source,
            build: application.spec.build.clone(),
            path: layout.release(&application.metadata.name, version),
        };
        let user = user_name(name);
        let delivered = Delivered::of(inputs)?;
        let plain_env = env::text(inputs, &release);
        let inputs_revision = delivered.revision(&plain_env);
        let env = ManagedFile {
            path: layout.env_file(name),
            content: env::with_secrets(plain_env, &delivered.variables),
            mode: 0o600,
        };
        let services = application
            .spec
            .services
            .iter()
            .filter_map(|service| {
                let port = *inputs.ports.by_service.get(&service.name)?;
                let unit = unit_name(name, service.name.as_str());
                let file = ManagedFile {
                    path: layout.unit_file(&unit),
                    content: unit::text(inputs, service, port, &release, &delivered.credentials),
                    mode: 0o644,
                };
                let revision =
                    digest::of_parts([file.content.as_bytes(), inputs_revision.as_bytes()]);
                let (name, health_check) = (service.name.clone(), service.health_check.clone());
                Some(DesiredService {
                    name,
                    unit,
                    file,
                    port,
                    health_check,
                    exceptions: service.sandbox.allow.clone(),
                    revision,
                })
            })
            .collect();
        let tls = tls(inputs, &layout);
        let served = tls.as_ref().and_then(|tls| tls.certificate.as_ref());
        let certificate = served.map(|(file, facts)| site::Certificate {
            file: &file.path,
            facts,
        });
        let urls = site::urls(tenant, certificate.map(|certificate| certificate.facts));
        let site = site::text(inputs, certificate).map(|content| ManagedFile {
            path: layout.site_file(name),
            content,
            mode: 0o644,
        });
        Ok(Self {
            tenant: name.clone(),
            sysusers: ManagedFile {
                path: layout.sysusers_file(name),
                content: sysusers_text(name, &user, &layout),
                mode: 0o644,
            },
            user,
            folders: folders(name, &layout, !delivered.credentials.is_empty()),
            release,
            env,
            credentials: delivered.credentials,
            credentials_folder: layout.credentials(name),
            inputs_revision,
            services,
            site,
            tls,
            urls,
        })
    }

    /// The digest of the whole: equal digests mean that nothing was asked to
    /// change.
    #[must_use]
    pub fn digest(&self) -> String {
        let files = std::iter::once(&self.sysusers)
            .chain(self.services.iter().map(|s| &s.file))
            .chain(&self.site);
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for file in files {
            parts.push(file.path.to_string_lossy().into_owned().into_bytes());
            parts.push(file.content.clone().into_bytes());
        }
        // Of what may hold secrets, no digest is kept (law 11).
        parts.push(self.inputs_revision.clone().into_bytes());
        digest::of_parts(parts.iter().map(Vec::as_slice))
    }
}

fn tls(inputs: Inputs<'_>, layout: &Layout<'_>) -> Option<DesiredTls> {
    let tenant = inputs.tenant;
    let wanted = tenant.spec.tls.as_ref()?;
    if tenant.spec.domains.is_empty() {
        return None;
    }
    let name = &tenant.metadata.name;
    let choice = certificate::choose(tenant, inputs.certificates);
    let file = |pair: &Pair| {
        let content = Owner::Tenant(name.to_string()).header() + pair.pem.reveal();
        ManagedFile {
            path: layout.certificate(name, &digest::of_content(content.as_bytes())),
            content,
            mode: 0o600,
        }
    };
    Some(DesiredTls {
        certificate: choice.pair.map(|pair| (file(pair), pair.facts.clone())),
        trouble: choice.trouble,
        blocked: choice.pair.is_none() && !wanted.acme,
    })
}

fn sysusers_text(name: &TenantName, user: &str, layout: &Layout<'_>) -> String {
    let header = Owner::Tenant(name.to_string()).header();
    let home = layout.data(name);
    format!(
        "{header}u {user} - \"Campaign Brain tenant {name}\" {}\n",
        home.display()
    )
}

/// The tenant's folders. Its data folder is root's, so that the tenant cannot
/// replace the folders in it by links.
fn folders(name: &TenantName, layout: &Layout<'_>, credentials: bool) -> Vec<Folder> {
    use FolderOwner::{Root, Tenant};
    [
        (layout.env_dir(name), 0o700, Root),
        (layout.data(name), 0o711, Root),
        (layout.database(name), 0o700, Tenant),
        (layout.uploads(name), 0o700, Tenant),
    ]
    .into_iter()
    .chain(credentials.then(|| (layout.credentials(name), 0o700, Root)))
    .map(|(path, mode, owner)| Folder { path, mode, owner })
    .collect()
}

#[cfg(test)]
mod tests;
