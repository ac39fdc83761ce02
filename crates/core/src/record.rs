//! What the operator remembers of a tenant between runs.
//!
//! One small file per tenant, readable by a person. Losing all of them loses
//! no tenant: ports are recovered from the managed units ([`recover`]), the
//! spec comes back from the manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{DeletionPolicy, Tenant};
use crate::mark::Owner;
use crate::types::{ObjectName, TenantName};

/// What is remembered of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The last good manifest: what runs, or is to run.
    pub tenant: Tenant,
    /// The manifest's file, relative to the folder of manifests. The status is
    /// written beside it.
    pub file: String,
    /// Counts the changes of the spec, from 1.
    pub generation: u64,
    /// When the tenant was first accepted (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Where in its life the tenant is.
    #[serde(default)]
    pub phase: Phase,
    /// The ports that were given to the tenant.
    #[serde(default, skip_serializing_if = "Ports::is_empty")]
    pub ports: Ports,
    /// What each service was last started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ObjectName, Started>,
    /// The digest of the desired state that was last applied in full. While it
    /// equals the current one, a difference on the host is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
}

impl Record {
    /// The revision of a service that has to be restarted: no digest is empty.
    pub const STALE: &'static str = "";

    /// The record of a tenant that is new here.
    #[must_use]
    pub fn new(tenant: Tenant, file: String) -> Self {
        Self {
            tenant,
            file,
            generation: 1,
            created: None,
            phase: Phase::Active,
            ports: Ports::default(),
            services: BTreeMap::new(),
            applied: None,
        }
    }

    /// The tenant's name.
    #[must_use]
    pub fn name(&self) -> &TenantName {
        &self.tenant.metadata.name
    }

    /// Takes a manifest that was accepted. Returns whether anything changed;
    /// the generation grows only when the spec did.
    pub fn accept(&mut self, tenant: &Tenant, file: &str) -> bool {
        let spec_changed = self.tenant.spec != tenant.spec;
        let changed = spec_changed
            || self.tenant.metadata != tenant.metadata
            || self.file != file
            || self.phase != Phase::Active;
        if spec_changed || self.phase != Phase::Active {
            self.generation += 1;
        }
        if changed {
            self.tenant = tenant.clone();
            file.clone_into(&mut self.file);
            self.phase = Phase::Active;
        }
        changed
    }
}

/// Where in its life a tenant is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It has a manifest and is kept equal to it.
    #[default]
    Active,
    /// Its manifest is gone and it is being removed; its data stays.
    Retaining,
    /// Its manifest is gone and it is being removed with its data.
    Deleting,
    /// It was removed; its data, `.env` and user are still here.
    Retained,
}

impl From<DeletionPolicy> for Phase {
    fn from(policy: DeletionPolicy) -> Self {
        match policy {
            DeletionPolicy::Retain => Phase::Retaining,
            DeletionPolicy::Delete => Phase::Deleting,
        }
    }
}

/// The ports of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// The tenant's slot in the port range; absent if all its ports are fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The port of each service.
    pub by_service: BTreeMap<ObjectName, u16>,
    /// Which lower slots were passed over when the slot was given, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

impl Ports {
    /// Whether no port was given yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slot.is_none() && self.by_service.is_empty()
    }
}

/// What a service was last started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The digest of the unit and environment, which name the release.
    pub revision: String,
    /// The unit's InvocationID after that start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// Whether the i360 database was there to be bound.
    #[serde(default)]
    pub i360: bool,
}

/// The ports that a managed unit file names: its tenant, service, slot and
/// port. `None` if the file is not a managed unit.
#[must_use]
pub fn recover(unit_file: &[u8]) -> Option<(TenantName, ObjectName, Option<u16>, u16)> {
    let Some(Owner::Tenant(owner)) = Owner::of(unit_file) else {
        return None;
    };
    let text = std::str::from_utf8(unit_file).ok()?;
    let (_, section) = text.split_once("\n[X-CampaignBrain]\n")?;
    let fields: BTreeMap<&str, &str> = section
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let tenant: TenantName = fields.get("Tenant")?.parse().ok()?;
    if tenant.as_str() != owner {
        return None;
    }
    let slot = match fields.get("Slot") {
        Some(slot) => Some(slot.parse().ok()?),
        None => None,
    };
    Some((
        tenant,
        fields.get("Service")?.parse().ok()?,
        slot,
        fields.get("Port")?.parse().ok()?,
    ))
}
