//! `Host`: the machine that the operator keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Alerts, ApiVersion, BackupPolicy, DeletionPolicy, DriftPolicy, Kind, ManifestSource, Object,
    ObjectMeta, PortNumber, ProxySpec, Resources, Secrets,
};
use crate::types::{
    BucketName, DiskSpace, EmailAddress, GroupName, HostPath, HttpUrl, ListenAddress,
    LoopbackAddress, ObjectName, UnitName,
};

/// The machine: its folders, port range, nginx, shared services and defaults.
/// The operator reads one, by default from `/etc/cb/host.yaml`, when it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Always `campaignbrain.io/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Host`.
    pub kind: HostKind,
    /// The Host's name and labels. `placement.hostSelector` of a Tenant selects
    /// by these labels.
    pub metadata: ObjectMeta,
    /// What the Host is. Every field has a default.
    #[serde(default)]
    pub spec: HostSpec,
}

/// The value of `kind` in a Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum HostKind {
    /// `Host`
    #[default]
    Host,
}

impl Object for Host {
    type Spec = HostSpec;
    const KIND: Kind = Kind::Host;
    fn name(&self) -> &str {
        self.metadata.name.as_str()
    }
    fn spec(&self) -> &HostSpec {
        &self.spec
    }
}

/// What a Host is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostSpec {
    /// Where things are on this host.
    pub paths: Paths,
    /// The range that tenants' ports come from.
    pub ports: PortRange,
    /// The reverse proxy.
    pub nginx: NginxSpec,
    /// What tenants can connect to on this host.
    pub network: NetworkSpec,
    /// What all tenants share.
    pub shared_services: SharedServices,
    /// Defaults for tenants.
    pub defaults: Defaults,
    /// When tenants whose manifests are gone are removed.
    pub prune: Prune,
    /// The operator's API.
    pub api: Api,
    /// Certificates of tenants' domains.
    pub certificates: CertificatesSpec,
    /// Upgrades, backups and restores.
    pub operations: Operations,
    /// Copies of backups.
    pub backups: Backups,
    /// How secrets are decrypted.
    pub secrets: Secrets,
    /// The shared release folders.
    pub releases: Releases,
    /// How tenants' use of the disk is watched.
    pub disk: DiskWatch,
    /// Full passes over everything, in case an event was lost.
    pub resync: Resync,
    /// Who is told of tenants that need a person.
    pub alerts: Alerts,
    /// Where the manifests come from. Default: the folder `paths.manifests`.
    pub source: ManifestSource,
}

/// Where things are on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Paths {
    /// The folder of manifests. Default `/etc/cb/manifests`.
    pub manifests: HostPath,
    /// The folder of the tenants' `.env` files. Default `/etc/cb/tenants`.
    pub env: HostPath,
    /// The folder of records, releases, tenants' data and backups. Default
    /// `/var/lib/cb`.
    pub state: HostPath,
    /// The folder of the API's socket. Default `/run/cb`.
    pub runtime: HostPath,
    /// The folder of unit files. Default `/etc/systemd/system`.
    pub units: HostPath,
    /// The folder of user definitions. Default `/etc/sysusers.d`.
    pub sysusers: HostPath,
    /// The file that reserves the port range. Default
    /// `/etc/sysctl.d/60-cb-operator.conf`.
    pub sysctl: HostPath,
}

fn path(text: &str) -> HostPath {
    text.parse().expect("a valid constant")
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            manifests: path("/etc/cb/manifests"),
            env: path("/etc/cb/tenants"),
            state: path("/var/lib/cb"),
            runtime: path("/run/cb"),
            units: path("/etc/systemd/system"),
            sysusers: path("/etc/sysusers.d"),
            sysctl: path("/etc/sysctl.d/60-cb-operator.conf"),
        }
    }
}

/// The range that tenants' ports come from. Slot *n* starts at
/// `base + n × stride`; a service has the slot's first port plus its
/// `portOffset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PortRange {
    /// The first port of the first slot. Default 32300.
    pub base: PortNumber,
    /// The distance between slots. Default 10.
    #[schemars(range(min = 1, max = 100))]
    pub stride: u16,
    /// How many slots there are. Default 1000.
    #[schemars(range(min = 1, max = 10000))]
    pub slots: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        Self {
            base: PortNumber(32300),
            stride: 10,
            slots: 1000,
        }
    }
}

/// The reverse proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NginxSpec {
    /// nginx's main configuration. Default `/etc/nginx/nginx.conf`.
    pub config: HostPath,
    /// The folder of tenants' sites, included by the main configuration's
    /// `http` block. Default `/etc/nginx/conf.d`.
    pub sites: HostPath,
    /// nginx's unit. Default `nginx.service`.
    pub unit: UnitName,
    /// Whether sites listen on IPv6 too. Default `true`.
    pub ipv6: bool,
}

impl Default for NginxSpec {
    fn default() -> Self {
        Self {
            config: path("/etc/nginx/nginx.conf"),
            sites: path("/etc/nginx/conf.d"),
            unit: "nginx.service".parse().expect("a valid constant"),
            ipv6: true,
        }
    }
}

/// What tenants can connect to on this host. Connections to other machines
/// are not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Whether tenants are kept from each other's ports, by nftables. Default
    /// `Enforce`.
    pub isolation: NetworkIsolation,
    /// Ports on this host that every tenant may connect to, beside its own,
    /// 53, 80, 443 and the port of `sharedServices.ollama`. Default: none.
    #[schemars(inner(range(min = 1)))]
    pub allow_ports: Vec<u16>,
}

/// Whether tenants are kept from each other's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum NetworkIsolation {
    /// A tenant's services can connect to their own ports and to what is
    /// shared; root and nginx reach every tenant's ports, and nothing else
    /// does, on this host or from outside.
    #[default]
    Enforce,
    /// Nothing is limited.
    Off,
}

/// What all tenants share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SharedServices {
    /// The i360 voter database: a DuckDB file that tenants with
    /// `database.i360: true` can read. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub i360: Option<I360>,
    /// The Ollama LLM service. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ollama: Option<Ollama>,
}

/// The i360 voter database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct I360 {
    /// The file.
    pub path: HostPath,
}

/// The Ollama LLM service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ollama {
    /// Its URL, written to every tenant's `.env` as `OLLAMA_URL`.
    pub url: HttpUrl,
}

/// Defaults for tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    /// Limits for tenants that do not set them.
    pub resources: Resources,
    /// What to do about drift. Default `Correct`.
    pub drift_policy: DriftPolicy,
    /// What to do with the data of a deleted tenant. Default `Retain`.
    pub deletion_policy: DeletionPolicy,
    /// When tenants' databases are backed up and how long backups are kept.
    pub backup: BackupPolicy,
    /// How nginx passes requests on.
    pub proxy: ProxySpec,
}

/// Certificates of tenants' domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificatesSpec {
    /// How many days before a certificate expires people are told. Default 14.
    #[schemars(range(max = 3650))]
    pub warn_days: u16,
    /// Who issues the certificates of tenants with `tls.acme: true`. Default:
    /// nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
}

impl Default for CertificatesSpec {
    fn default() -> Self {
        Self {
            warn_days: 14,
            acme: None,
        }
    }
}

/// An authority that issues certificates by ACME (RFC 8555). It asks for
/// `http://DOMAIN/.well-known/acme-challenge/`, which nginx answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acme {
    /// The authority's directory. Default: that of Let's Encrypt.
    #[serde(default = "default_directory")]
    pub directory: HttpUrl,
    /// Whom the authority may write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<EmailAddress>,
    /// Whether you agree to the authority's terms of service; an account cannot
    /// be made without.
    pub terms_of_service_agreed: bool,
    /// The certificates that sign the authority's own server's, in PEM form.
    /// Default: the well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<HostPath>,
    /// How many certificates are ordered in an hour at most. Default 30.
    #[serde(default = "default_orders")]
    #[schemars(range(min = 1, max = 10_000))]
    pub orders_per_hour: u16,
}

fn default_directory() -> HttpUrl {
    let url = "https://acme-v02.api.letsencrypt.org/directory";
    url.parse().expect("a valid constant")
}

fn default_orders() -> u16 {
    30
}

/// Upgrades, backups and restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Operations {
    /// How many tenants may be upgraded, backed up or restored at once.
    /// Default 2.
    #[schemars(range(min = 1, max = 1000))]
    pub parallelism: u16,
    /// How long an upgraded tenant's services must stay healthy, and answer
    /// with the new version, before the upgrade counts as done, in seconds.
    /// Default 5.
    #[schemars(range(max = 3600))]
    pub settle_seconds: u32,
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            parallelism: 2,
            settle_seconds: 5,
        }
    }
}

/// Copies of backups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backups {
    /// Where each backup is also copied to. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offsite: Option<Offsite>,
}

/// Where backups are copied to: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Offsite {
    /// A folder, for example a mount of another machine's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<HostPath>,
    /// A bucket of an S3-compatible object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

/// A bucket of an S3-compatible object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// The bucket.
    pub bucket: BucketName,
    /// What object names begin with. Default: the Host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<ObjectName>,
    /// The region. Default `us-east-1`.
    #[serde(default = "default_region")]
    pub region: ObjectName,
    /// The server's URL. Default: Amazon's for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// A file that root alone can read with two lines: the access key's id and
    /// its secret.
    pub credentials_file: HostPath,
    /// The certificates that sign the server's, in PEM form. Default: the
    /// well-known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<HostPath>,
}

fn default_region() -> ObjectName {
    "us-east-1".parse().expect("a valid constant")
}

/// The shared release folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Releases {
    /// How many unused releases of each Application are kept, the newest
    /// first. One that a tenant runs, is to run or may go back to is never
    /// removed. Default 3.
    #[schemars(range(max = 1000))]
    pub keep: u16,
}

impl Default for Releases {
    fn default() -> Self {
        Self { keep: 3 }
    }
}

/// When tenants whose manifests are gone are removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Prune {
    /// How long a manifest must be gone, in seconds. Default 10.
    #[schemars(range(max = 86400))]
    pub delay_seconds: u32,
    /// How many tenants may go at once, as a percentage of all, at least one.
    /// When more manifests vanish together, nothing is removed until they are
    /// back or each tenant is deleted by name. Default 10.
    #[schemars(range(max = 100))]
    pub max_percent: u8,
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            delay_seconds: 10,
            max_percent: 10,
        }
    }
}

/// The operator's API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Api {
    /// Members of this group may use the API beside root; they can change
    /// every tenant. Default: root alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// An address and port on which `/metrics`, `/healthz` and `/readyz` can be
    /// read over TCP too, without a password: `127.0.0.1:9643` for a Prometheus
    /// on this machine. Default: nowhere; the socket has them always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<ListenAddress>,
    /// An address of this machine alone and a port on which the API is there
    /// over TLS too, for those with a token (`cbctl token`): `127.0.0.1:9644`.
    /// Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<LoopbackAddress>,
    /// The certificate for `listen`. Default: one that the operator makes, as
    /// its own authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ApiTls>,
}

/// The files of the API's certificate. They are read when the operator starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiTls {
    /// The certificate with its chain, in PEM form. Clients have to trust it.
    pub certificate_file: HostPath,
    /// Its private key, in PEM form.
    pub key_file: HostPath,
}

/// How tenants' use of the disk is watched. What a tenant may have is
/// `resources.disk` of the Tenant or of `defaults`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DiskWatch {
    /// Seconds between two looks at what a tenant has on disk; a tenant that
    /// comes near its limit is looked at every 5 seconds, and one without a
    /// limit in every tenth period. Default 60.
    #[schemars(range(min = 1, max = 86400))]
    pub period_seconds: u32,
    /// While the file system of the tenants' folders has less free space than
    /// this, every tenant is looked at at once, so that those above their limit
    /// stop before it is full, and a warning is recorded. Default `1Gi`.
    pub keep_free: DiskSpace,
}

impl Default for DiskWatch {
    fn default() -> Self {
        Self {
            period_seconds: 60,
            keep_free: "1Gi".parse().expect("a valid constant"),
        }
    }
}

/// Full passes over everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resync {
    /// Seconds between full passes. Default 600.
    #[schemars(range(min = 1, max = 86400))]
    pub period_seconds: u32,
}

impl Default for Resync {
    fn default() -> Self {
        Self {
            period_seconds: 600,
        }
    }
}
