//! The status of a `Tenant`: what the operator saw of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::disk::Enforcement;
use crate::drift::DriftStatus;
use crate::types::DiskSpace;

/// What the operator saw of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation of the spec that this status is about. It grows by one
    /// with every change of the spec.
    pub observed_generation: u64,
    /// The commit that the tenant's manifest was accepted from, on a Host that
    /// follows a git repository; later commits that left it as it is do not
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_revision: Option<String>,
    /// The version that runs, by the services' own health answers; absent
    /// until one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The release folder that the services run from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The database's schema version, by what the Application declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// The upgrade, backup or restore that is under way, or else the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,
    /// The port of each service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// What the tenant may have on disk; absent without a limit, and until its
    /// use was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStatus>,
    /// Where nginx serves the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The certificate that the domains are served with; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// The services, in the Application's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStatus>,
    /// How the host differs from what was applied, although nobody asked for
    /// it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftStatus>,
    /// The state by aspect. `Ready`, `Reconciling` and `Stalled` follow
    /// kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl TenantStatus {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}

/// What a tenant may have on disk. How much it has is a metric,
/// `cb_tenant_disk_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// The limit that is in force.
    pub limit: DiskSpace,
    /// How the tenant is held to it.
    pub enforcement: Enforcement,
}

/// An upgrade, backup or restore of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Its identifier, unique for the tenant.
    pub id: String,
    /// `Upgrade`, `Backup` or `Restore`.
    pub kind: String,
    /// `Running`, `RollingBack`, `Succeeded`, `Failed` (it ended as it began)
    /// or `Halted` (it needs a person).
    pub state: String,
    /// The version before; absent if the tenant had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<String>,
    /// The version after.
    pub to_version: String,
    /// The phases so far, in order.
    pub phases: Vec<PhaseStatus>,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The backup that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Why it failed: a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, what was kept and what a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines that the failed step wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// One phase of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseStatus {
    /// The phase, for example `Migrating`.
    pub name: String,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// `Done` or `Failed`; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// The certificate that a tenant's domains are served with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Since when it is valid (RFC 3339, UTC).
    pub not_before: String,
    /// Until when it is valid (RFC 3339, UTC).
    pub not_after: String,
    /// The domains that it is for.
    pub names: Vec<String>,
}

/// What the operator saw of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The service's name in the Application.
    pub name: String,
    /// The systemd unit.
    pub unit: String,
    /// systemd's active state, for example `active` or `failed`.
    pub active_state: String,
    /// systemd's sub-state, for example `running` or `auto-restart`.
    pub sub_state: String,
    /// The unit's current InvocationID, to find its run in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// Whether the health check of this run succeeded; absent until it was
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// What its sandbox lets it do that services may not, by the Application's
    /// `sandbox.allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sandbox_exceptions: Vec<String>,
}
