//! What the API needs from the daemon, and the types of both sides.
//!
//! The server checks that a request is well-formed and names one object; what
//! the object means, whether it is taken and where it is written is the
//! backend's. What must not live here: HTTP.
//!
//! The server calls [`Backend::put`], [`Backend::delete`] and
//! [`Backend::reconcile`] in a task of their own, so a client that hangs up
//! does not cancel half of a change.

use std::sync::Arc;

use async_trait::async_trait;
use cb_core::api::Kind;
use cb_core::drift::DriftStatus;
use cb_core::patch::Written;
use serde::{Deserialize, Serialize};

use super::operations::Operations;
use crate::access::Access;
use crate::alerts::Alerts;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::rollouts::Rollouts;
use crate::source::Source;
use crate::state::State;

/// The daemon, as the API sees it.
#[async_trait]
pub trait Backend: Operations {
    /// The objects that are shown.
    fn state(&self) -> &State;
    /// This machine.
    fn host(&self) -> &cb_core::api::Host;
    /// What is counted.
    fn metrics(&self) -> &Arc<Metrics>;
    /// The events that are shown.
    fn recorder(&self) -> &Recorder;
    /// The fleet upgrades.
    fn rollouts(&self) -> &Rollouts;
    /// The repository of manifests; none if the Host reads a folder.
    fn source(&self) -> Option<&Source> {
        None
    }
    /// Tokens and the log of changes; none while the operator starts.
    fn access(&self) -> Option<&Access> {
        None
    }
    /// The alert sinks; none while the operator starts.
    fn alerts(&self) -> Option<&Alerts>;
    /// Whether manifests are being kept; if not, why.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), String>;
    /// Creates an object or replaces it, and returns when [`Backend::state`]
    /// shows it.
    ///
    /// # Errors
    /// Nothing was changed, and why.
    async fn put(&self, put: Put) -> Result<PutResult, Refusal>;
    /// Removes an object's manifest, and begins to take the object down. The
    /// name may be one that no object can have.
    ///
    /// # Errors
    /// Nothing was changed, and why.
    async fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<(), Refusal>;
    /// What would be done.
    ///
    /// # Errors
    /// Why that cannot be said.
    async fn plan(&self, request: PlanRequest) -> Result<PlanResponse, Refusal>;
    /// Makes a pass over a tenant now, and returns when its status is in
    /// [`Backend::state`].
    ///
    /// # Errors
    /// No pass was made, and why. That a pass failed is said by the status.
    async fn reconcile(&self, tenant: &str) -> Result<(), Refusal>;
    /// Has every service of a tenant stopped and started again, and returns
    /// when that was done.
    ///
    /// # Errors
    /// Nothing was restarted, and why. That a service does not start again is
    /// said by the status.
    async fn restart(&self, tenant: &str) -> Result<(), Refusal>;
    /// What the services of every tenant use now, and what tenants have on
    /// disk; the processor, which takes a while, only if it is asked for.
    async fn usage(&self, processor: bool) -> Vec<TenantUsage>;
}

/// What a tenant's services use, and what it has on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantUsage {
    /// The tenant.
    pub tenant: String,
    /// Its services.
    pub services: Vec<ServiceUsage>,
    /// What it had on disk when it was last looked at; absent until then.
    pub disk_bytes: Option<u64>,
    /// What it may have on disk; absent without a limit.
    pub disk_limit_bytes: Option<u64>,
}

/// What a service uses. What the host does not account for is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceUsage {
    /// Its name in the Application.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Thousandths of one processor, over the last half second.
    pub cpu_millicores: Option<u64>,
    /// Memory in bytes, without page cache that can be dropped.
    pub memory_bytes: Option<u64>,
}

/// An object to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its kind: [`Kind::Tenant`] or [`Kind::Application`].
    pub kind: Kind,
    /// Its name; it is valid and equals the text's `metadata.name`.
    pub name: String,
    /// One YAML document of this kind, well-formed but not yet validated.
    pub text: String,
    /// Whether the object may exist.
    pub mode: PutMode,
    /// Whether to answer what would be and change nothing.
    pub dry_run: bool,
    /// Whether the text is a person's, to be written as it is. If not, it only
    /// says what the object is to be, and what stands around that in the
    /// manifest (comments, order) is kept.
    pub is_text: bool,
    /// What the change was made of ([`super::object::written`]): if the
    /// manifest says something else, it is [`Refusal::Stale`].
    pub based_on: Option<serde_json::Value>,
    /// What is to be remembered of the write.
    pub written: Written,
}

/// Whether an object that is written may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// It must not.
    Create,
    /// It is created or replaced.
    Replace,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct PutResult {
    /// Whether anything changed.
    pub outcome: Outcome,
    /// The object as it is shown, or as it would be; see
    /// [`super::object::tenant`] and [`super::object::application`].
    pub object: serde_json::Value,
}

/// Whether a write changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Created,
    /// The object was replaced.
    Configured,
    /// The object was already so.
    Unchanged,
}

impl Outcome {
    /// The word for the header `x-cb-result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// Why a request is refused. Messages never hold the values of environment
/// variables or secrets (law 11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// An object to create exists.
    #[error("the object exists already")]
    AlreadyExists,
    /// It is not what the change was made of.
    #[error(
        "the object has been modified; please apply your changes to the latest version and try again"
    )]
    Stale,
    /// Something that is there is in the way.
    #[error("{0}")]
    Conflict(String),
    /// The object is not valid.
    #[error("the object is not valid")]
    Invalid(Vec<Cause>),
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// It is not allowed, whoever asks.
    #[error("{0}")]
    Forbidden(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// It failed.
    #[error("{0}")]
    Internal(String),
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The field, for example `spec.domains[0]`; empty for the whole object.
    pub field: String,
    /// What is wrong and what would be right, with line and column.
    pub message: String,
}

/// A question for what would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRequest {
    /// Manifests that would be applied; without any, the plan is for the
    /// manifests there are.
    #[serde(default)]
    pub manifests: Vec<PlanManifest>,
    /// The tenants that are asked about; `None` means all.
    #[serde(default)]
    pub tenants: Option<Vec<String>>,
}

/// A manifest that would be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanManifest {
    /// How messages name it, for example `ky04.yaml`.
    pub name: String,
    /// Its text: any number of YAML documents.
    pub text: String,
}

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanResponse {
    /// One for each tenant that was asked about.
    pub plans: Vec<TenantPlan>,
    /// What is wrong with the manifests.
    pub errors: Vec<PlanError>,
    /// How the host itself differs from how it is to be kept, if all tenants
    /// were asked about as they are.
    #[serde(default)]
    pub host: Vec<PlanDrift>,
}

/// What would be done for one tenant. It holds no value of an environment
/// variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantPlan {
    /// The tenant.
    pub tenant: String,
    /// What becomes of its object.
    pub change: PlanChange,
    /// A unified diff of spec and labels; empty if they stay the same.
    pub spec_diff: String,
    /// What would be done, in order.
    pub steps: Vec<PlanStep>,
    /// What would have to be done but must not be.
    pub blocked: Vec<PlanBlocked>,
    /// Why nothing is done, if so: `Suspended`, `Detect` or `Fought`.
    pub hold: Option<String>,
    /// How the host differs from what was applied, although nobody asked for
    /// it.
    pub drift: Vec<PlanDrift>,
}

/// A difference on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDrift {
    /// What differs, as in the tenant's status.
    #[serde(flatten)]
    pub drift: DriftStatus,
    /// A unified diff of a changed file; empty for everything else.
    pub diff: String,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlanChange {
    /// It would be new.
    Create,
    /// It would change.
    Update,
    /// It stays as it is.
    None,
    /// It would go.
    Delete,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// What it is part of, for example `Services`.
    pub aspect: String,
    /// The kind of action, for example `WriteUnit`.
    pub action: String,
    /// The action in words.
    pub text: String,
    /// Why.
    pub reason: String,
    /// `Change` or `Drift`.
    pub cause: String,
}

/// Something that would have to be done but must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanBlocked {
    /// What it keeps from being ready.
    pub aspect: String,
    /// A CamelCase word.
    pub reason: String,
    /// What is in the way and what to do about it.
    pub message: String,
}

/// Something wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanError {
    /// The manifest's name, as in the request.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// The field; empty for the whole object.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}
