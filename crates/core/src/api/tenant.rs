//! `Tenant`: one customer's instance of an application.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, EnvFromSource, Kind, Object, SecretRef, TenantMeta, TenantStatus};
use crate::types::{
    Cpu, DiskSpace, DomainName, EnvName, EnvValue, HostPath, Memory, ObjectName, TenantName,
    Version,
};

/// One customer's instance of an Application: its own services, ports, nginx
/// site, database, `.env` and folder of uploads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenant {
    /// Always `campaignbrain.io/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Tenant`.
    pub kind: TenantKind,
    /// The tenant's name, labels and annotations.
    pub metadata: TenantMeta,
    /// What the tenant should be.
    pub spec: TenantSpec,
    /// What the operator saw last. Read-only: it is refused in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TenantStatus>,
}

/// The value of `kind` in a Tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TenantKind {
    /// `Tenant`
    #[default]
    Tenant,
}

impl Object for Tenant {
    type Spec = TenantSpec;
    const KIND: Kind = Kind::Tenant;
    fn name(&self) -> &str {
        self.metadata.name.as_str()
    }
    fn spec(&self) -> &TenantSpec {
        &self.spec
    }
}

impl Tenant {
    /// The tenant's name.
    #[must_use]
    pub fn tenant_name(&self) -> &TenantName {
        &self.metadata.name
    }
}

/// What a tenant should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSpec {
    /// The customer's name, as people read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<EnvValue>,
    /// The name of the Application that this tenant runs.
    pub application: ObjectName,
    /// The version of the Application that this tenant runs; one of the
    /// Application's `versions`.
    pub version: Version,
    /// The domain names that nginx serves this tenant under. A domain belongs
    /// to one tenant. Without any, the tenant has no nginx site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainName>,
    /// Serves the domains over HTTPS. Without it, nginx serves HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How nginx passes requests on to the tenant's services.
    #[serde(default, skip_serializing_if = "ProxySpec::is_default")]
    pub proxy: ProxySpec,
    /// Fixed ports by service name. A service that is not named here gets its
    /// port from the tenant's slot in the Host's port range.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<ObjectName, PortNumber>,
    /// Environment variables for all of the tenant's services, written to its
    /// `.env`. Names that the operator itself sets are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, EnvValue>,
    /// Secrets for all of the tenant's services. By default a service finds
    /// each in the file `$CREDENTIALS_DIRECTORY/NAME`; see `delivery`. A changed
    /// secret restarts the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_refs: Vec<SecretRef>,
    /// Encrypted files of environment variables next to the manifests, written
    /// to the tenant's `.env`. A name that is in two of them, in `env` or in
    /// `secretRefs` is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// The tenant's database.
    #[serde(default, skip_serializing_if = "DatabaseSpec::is_default")]
    pub database: DatabaseSpec,
    /// Limits for each of the tenant's services, and for what the tenant has on
    /// disk. Unset fields take the Host's `defaults.resources`.
    #[serde(default, skip_serializing_if = "Resources::is_default")]
    pub resources: Resources,
    /// With `true` the operator leaves the tenant as it is: nothing is
    /// started, stopped, written or corrected. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What to do when the host differs from what was applied. Default: the
    /// Host's `defaults.driftPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// What happens to the tenant's data when its manifest is deleted.
    /// Default: the Host's `defaults.deletionPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Which hosts the tenant runs on. Default: every host that reads this
    /// manifest.
    #[serde(default, skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
}

impl TenantSpec {
    /// Whether both run the same release.
    #[must_use]
    pub fn is_same_release(&self, other: &TenantSpec) -> bool {
        self.application == other.application && self.version == other.version
    }

    /// This spec, with all that says how the operator treats the tenant, and
    /// not what the tenant is, taken from `other`.
    #[must_use]
    pub fn with_policies_of(mut self, other: &TenantSpec) -> TenantSpec {
        self.suspend = other.suspend;
        self.drift_policy = other.drift_policy;
        self.deletion_policy = other.deletion_policy;
        self.database.backup = other.database.backup.clone();
        self.placement = other.placement.clone();
        self.resources.disk = other.resources.disk.clone();
        self
    }
}

/// How the tenant's domains are served over HTTPS: with the certificate in
/// `certificateFile` and `keyFile`, or with one that the operator has issued
/// (`acme: true`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate with its chain, in PEM form. It is used once it is
    /// checked: it and the key belong together, and it is for all of the
    /// domains. When the file changes, the new certificate is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<HostPath>,
    /// The private key, in PEM form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<HostPath>,
    /// Whether the operator has the certificate issued and renewed by the
    /// Host's `certificates.acme`. Until there is one, nginx serves HTTP.
    /// Default `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acme: bool,
    /// Whether requests over HTTP are redirected to HTTPS; with `false` they
    /// are served. Default `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
    /// For how many seconds browsers are to use HTTPS alone
    /// (`Strict-Transport-Security`). Default: they are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 157_680_000))]
    pub hsts_seconds: Option<u32>,
}

/// How nginx passes requests on to the tenant's services. Unset fields take the
/// Host's `defaults.proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxySpec {
    /// The largest request, for example an upload. Default `100Mi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<Memory>,
    /// How long nginx waits for a service between two parts of an answer, or
    /// between two messages of a WebSocket, in seconds. Default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: Option<u32>,
    /// Whether answers get the headers `X-Content-Type-Options` and
    /// `Referrer-Policy` where the service sets none. Default `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<bool>,
}

impl ProxySpec {
    fn is_default(&self) -> bool {
        self == &Self::default()
    }

    /// These settings, with unset fields taken from `defaults`.
    #[must_use]
    pub fn or(&self, defaults: &ProxySpec) -> ProxySpec {
        let size = self.max_body_size.as_ref();
        ProxySpec {
            max_body_size: size.or(defaults.max_body_size.as_ref()).cloned(),
            timeout_seconds: self.timeout_seconds.or(defaults.timeout_seconds),
            security_headers: self.security_headers.or(defaults.security_headers),
        }
    }
}

/// A TCP port from 1024 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PortNumber(pub u16);

impl JsonSchema for PortNumber {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortNumber".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": 1024, "maximum": 65535})
    }
}

impl TryFrom<u32> for PortNumber {
    type Error = crate::types::InvalidValue;
    fn try_from(port: u32) -> Result<Self, Self::Error> {
        match u16::try_from(port) {
            Ok(port) if port >= 1024 => Ok(Self(port)),
            _ => Err(crate::types::InvalidValue(format!(
                "{port} is not a usable port: use one from 1024 to 65535"
            ))),
        }
    }
}

impl From<PortNumber> for u32 {
    fn from(port: PortNumber) -> u32 {
        port.0.into()
    }
}

/// The tenant's database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseSpec {
    /// Whether the tenant may read the shared i360 voter database. It is bound
    /// read-only into the tenant's services. Default `false`.
    #[serde(default)]
    pub i360: bool,
    /// When the database is backed up and how long backups are kept. Unset
    /// fields take the Host's `defaults.backup`.
    #[serde(default, skip_serializing_if = "BackupPolicy::is_default")]
    pub backup: BackupPolicy,
}

/// When a database is backed up and how long backups are kept. A backup needs
/// the services stopped for a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackupPolicy {
    /// Hours between scheduled backups. Default: none is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8760))]
    pub every_hours: Option<u32>,
    /// How many backups are kept. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub keep_count: Option<u32>,
    /// For how many days backups are kept; the newest good one stays however
    /// old it is. Default: without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub keep_days: Option<u32>,
}

impl BackupPolicy {
    /// How many backups are kept if nothing says so.
    pub const KEEP_COUNT: u32 = 10;

    fn is_default(&self) -> bool {
        self == &Self::default()
    }

    /// This policy, with unset fields taken from `defaults`.
    #[must_use]
    pub fn or(&self, defaults: &BackupPolicy) -> BackupPolicy {
        BackupPolicy {
            every_hours: self.every_hours.or(defaults.every_hours),
            keep_count: self.keep_count.or(defaults.keep_count),
            keep_days: self.keep_days.or(defaults.keep_days),
        }
    }
}

impl DatabaseSpec {
    fn is_default(&self) -> bool {
        self == &Self::default()
    }
}

/// Limits for each service of a tenant, and for the tenant's use of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Memory, as systemd's `MemoryMax=`; as much of swap space may come on top.
    /// Default `2Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processor time, as systemd's `CPUQuota=`. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Processes and threads, as systemd's `TasksMax=`. Default 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tasks: Option<u32>,
    /// How large one file can become, the database file among them. Default
    /// `64Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<DiskSpace>,
    /// How many files and connections one process can have open. Default 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 1_000_000))]
    pub open_files: Option<u32>,
    /// How much each of `/tmp`, `/var/tmp` and `/dev/shm` can hold. They are the
    /// service's own, count as its memory, and are empty after a restart. Default
    /// `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Memory>,
    /// What the tenant may have on disk in all: its database and its uploads,
    /// without backups. Where the file system has project quotas (xfs or ext4 mounted with
    /// `prjquota`), it stores no more than that; elsewhere the operator looks
    /// from time to time and stops the tenant's services at the limit. An alert
    /// is raised at 80 %. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSpace>,
}

impl Resources {
    fn is_default(&self) -> bool {
        self == &Self::default()
    }

    /// These limits, with unset fields taken from `defaults`.
    #[must_use]
    pub fn or(&self, defaults: &Resources) -> Resources {
        Resources {
            memory: self.memory.clone().or_else(|| defaults.memory.clone()),
            cpu: self.cpu.clone().or_else(|| defaults.cpu.clone()),
            tasks: self.tasks.or(defaults.tasks),
            file_size: self
                .file_size
                .clone()
                .or_else(|| defaults.file_size.clone()),
            open_files: self.open_files.or(defaults.open_files),
            temporary: self
                .temporary
                .clone()
                .or_else(|| defaults.temporary.clone()),
            disk: self.disk.clone().or_else(|| defaults.disk.clone()),
        }
    }
}

/// What to do when the host differs from what was applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// Put it right.
    #[default]
    Correct,
    /// Report it and change nothing. A changed manifest is still applied.
    Detect,
}

/// What happens to a tenant's data when its manifest is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Services, site and units are removed; database, uploads, `.env` and the
    /// Linux user stay.
    #[default]
    Retain,
    /// Everything is removed; the data is moved into the backups folder first
    /// and checked there.
    Delete,
}

/// Which hosts a tenant runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// The tenant runs on hosts that have all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host_selector: BTreeMap<String, String>,
}

impl Placement {
    fn is_default(&self) -> bool {
        self == &Self::default()
    }
}
