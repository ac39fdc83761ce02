//! `Application`: what tenants run, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, Kind, Object, ObjectMeta};
use crate::types::{
    Argument, EnvName, EnvValue, HostPath, ObjectName, ReleasePath, Sha256, UrlPath, Version,
};

/// An application that tenants run: its versions, services and routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// Always `campaignbrain.io/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Application`.
    pub kind: ApplicationKind,
    /// The Application's name, labels and annotations.
    pub metadata: ObjectMeta,
    /// What the Application is.
    pub spec: ApplicationSpec,
}

/// The value of `kind` in an Application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ApplicationKind {
    /// `Application`
    #[default]
    Application,
}

impl Object for Application {
    type Spec = ApplicationSpec;
    const KIND: Kind = Kind::Application;
    fn name(&self) -> &str {
        self.metadata.name.as_str()
    }
    fn spec(&self) -> &ApplicationSpec {
        &self.spec
    }
}

/// What an Application is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSpec {
    /// The versions that tenants can run and where each comes from.
    #[schemars(length(min = 1))]
    pub versions: Vec<VersionSource>,
    /// The services of each tenant, in the order they are started.
    #[schemars(length(min = 1))]
    pub services: Vec<Service>,
    /// Which paths nginx sends to which service. The longest match wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The database file's name in the tenant's database folder. Default
    /// `tenant.duckdb`.
    #[serde(default = "default_database_file")]
    pub database_file: ReleasePath,
}

fn default_database_file() -> ReleasePath {
    "tenant.duckdb".parse().expect("a valid constant")
}

/// A version and where its release comes from: exactly one of `folder` and
/// `archive`. It is copied once into the shared, immutable release folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionSource {
    /// The version.
    pub name: Version,
    /// A folder on the host that holds the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderSource>,
    /// An archive on the host that holds the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveSource>,
}

/// A release in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FolderSource {
    /// The folder.
    pub path: HostPath,
}

/// A release in a `.tar` or `.tar.gz` archive. A single top-level folder in it
/// is stripped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveSource {
    /// The archive.
    pub path: HostPath,
    /// The archive's checksum, checked before it is unpacked.
    pub sha256: Sha256,
}

/// One service of each tenant; systemd runs it as `TENANT-NAME.service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The service's name, for example `api`.
    pub name: ObjectName,
    /// The program, relative to the release folder.
    pub command: ReleasePath,
    /// The program's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// The service's port as an offset from the first port of the tenant's
    /// slot; smaller than the Host's `ports.stride`.
    #[schemars(range(max = 99))]
    pub port_offset: u16,
    /// Environment variables for this service alone. `$(NAME)` in a value is
    /// replaced by the value of a variable that the operator sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, EnvValue>,
    /// How to ask whether the service works. Without it, a service counts as
    /// healthy while systemd says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// An HTTP request to the service's own port that succeeds with status 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// The path to ask, for example `/health`.
    pub path: UrlPath,
    /// How long one request may take, in seconds. Default 2.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: u32,
    /// How long the service may take to answer after its start before it
    /// counts as failed, in seconds. Default 60.
    #[serde(default = "default_start_timeout_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub start_timeout_seconds: u32,
    /// How often a healthy service is asked again, in seconds. Default 60.
    #[serde(default = "default_period_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: u32,
}

fn default_timeout_seconds() -> u32 {
    2
}

fn default_start_timeout_seconds() -> u32 {
    60
}

fn default_period_seconds() -> u32 {
    60
}

/// A path of the tenant's domains and the service that answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The path prefix, for example `/api/`.
    pub path: UrlPath,
    /// The name of the service.
    pub service: ObjectName,
}

impl ApplicationSpec {
    /// The source of this version.
    #[must_use]
    pub fn source(&self, version: &Version) -> Option<&VersionSource> {
        self.versions.iter().find(|source| &source.name == version)
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.name.as_str() == name)
    }
}
