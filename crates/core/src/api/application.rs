//! `Application`: what tenants run, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, Kind, Object, ObjectMeta, Sandbox};
use crate::types::{
    Argument, CommitId, EnvName, EnvValue, GitUrl, HostPath, Memory, ObjectName, ReleasePath,
    Sha256, TableName, UrlPath, Version,
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
    /// Which paths nginx sends to which service. The longest match wins; what
    /// no route is for is answered with 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The database file's name in the tenant's database folder. Default
    /// `tenant.duckdb`.
    #[serde(default = "default_database_file")]
    pub database_file: ReleasePath,
    /// How a tenant's database is brought to a release's schema.
    #[serde(default, skip_serializing_if = "DatabaseHooks::is_default")]
    pub database: DatabaseHooks,
    /// The command that makes a release out of its source, once per version
    /// and host. Default: the source is the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
}

/// How a tenant's database is brought to a release's schema, while its
/// services are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DatabaseHooks {
    /// How to migrate. Default: an upgrade migrates nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// How to read the schema version. Default: from the migrations' table, if
    /// the migrations are SQL files; otherwise from the health answer's
    /// `schema_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<SchemaVersionSource>,
    /// How long one piece of work on a tenant's database may take, in seconds:
    /// a checkpoint, a copy, all migrations of an upgrade. Default 600.
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_seconds: u32,
    /// How much memory one piece of work on a tenant's database may use.
    /// Default `1Gi`.
    pub memory: Memory,
}

impl Default for DatabaseHooks {
    fn default() -> Self {
        Self {
            migrations: None,
            schema_version: None,
            timeout_seconds: 600,
            memory: "1Gi".parse().expect("a valid constant"),
        }
    }
}

impl DatabaseHooks {
    fn is_default(&self) -> bool {
        self == &Self::default()
    }

    /// The table that records the schema version, if that is how it is read.
    #[must_use]
    pub fn table(&self) -> Option<&TableName> {
        match (&self.schema_version, &self.migrations) {
            (Some(source), _) => source.table.as_ref(),
            (None, Some(migrations)) if migrations.folder.is_some() => Some(&migrations.table),
            (None, _) => None,
        }
    }
}

/// How to migrate: exactly one of `folder` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Migrations {
    /// The folder of SQL files like `0001_init.sql` in the release. They are
    /// applied in the order of their numbers, each once, all in one
    /// transaction with the table that records them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<ReleasePath>,
    /// The table that records applied SQL files. Default `schema_migrations`.
    #[serde(default = "default_table")]
    pub table: TableName,
    /// A program in the release that migrates the database named by its
    /// environment variable `DATABASE_PATH`, and exits with 0 when it is at
    /// this release's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ReleaseCommand>,
}

fn default_table() -> TableName {
    "schema_migrations".parse().expect("a valid constant")
}

/// How to read the schema version: exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SchemaVersionSource {
    /// The highest `version` in this table of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// The integer that this program in the release prints for the database
    /// named by its environment variable `DATABASE_PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<ReleaseCommand>,
    /// `true`: the `schema_version` of a service's health answer, known while
    /// the services run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub health: bool,
}

/// A program in a release, run as the tenant's user in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseCommand {
    /// The program, relative to the release folder.
    pub program: ReleasePath,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
}

/// The commands that make a release out of its source, run in a copy of the
/// source by a user of their own without a network, in a sandbox. What they
/// leave there is the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Build {
    /// Each command with its arguments, in order; a program is looked up in
    /// the host's usual folders, or relative to the source if it has a `/`.
    #[schemars(length(min = 1))]
    pub commands: Vec<Vec<Argument>>,
    /// How long all of them may take, in seconds. Default 1800.
    #[serde(default = "default_build_timeout_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub timeout_seconds: u32,
    /// How much memory they may use. Default `2Gi`.
    #[serde(default = "default_build_memory")]
    pub memory: Memory,
    /// Whether they may use the network. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
}

fn default_build_timeout_seconds() -> u32 {
    1800
}

fn default_build_memory() -> Memory {
    "2Gi".parse().expect("a valid constant")
}

fn default_database_file() -> ReleasePath {
    "tenant.duckdb".parse().expect("a valid constant")
}

/// A version and where its release comes from: exactly one of `folder`,
/// `archive` and `git`. It is copied, and built if the Application says how,
/// once into the shared, immutable release folder.
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
    /// A tag of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
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

/// A release at a tag of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitSource {
    /// The repository: `https://…`, `ssh://…` or the path of a folder on the
    /// host.
    pub repository: GitUrl,
    /// The tag. Default: the version's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Version>,
    /// The commit that the tag must point to, 40 hexadecimal digits: with it,
    /// a tag that was moved is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
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
    /// What the service needs that the sandbox of services does not let it have.
    #[serde(default, skip_serializing_if = "Sandbox::is_default")]
    pub sandbox: Sandbox,
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
    /// This spec without its versions: what all of them are run by.
    #[must_use]
    pub fn without_versions(&self) -> Self {
        Self {
            versions: Vec::new(),
            ..self.clone()
        }
    }

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
