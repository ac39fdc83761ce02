//! What the operator remembers of a tenant between runs.
//!
//! One small file per tenant, readable by a person. Losing all of them loses
//! no tenant: ports are recovered from the managed units ([`recover`]), the
//! spec comes back from the manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{
    Application, ApplicationSpec, DeletionPolicy, OperationStatus, Tenant, TenantSpec,
};
use crate::disk::DiskRecord;
use crate::drift::Fought;
use crate::mark::Owner;
use crate::operation::{FailedUpgrade, Kind, Next, Operation, Phase as Step, Request, Wish};
use crate::patch::Provenance;
use crate::types::{ObjectName, TenantName, Version};

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
    /// The commit that the manifest was accepted from, if it came from a git
    /// repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
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
    /// The spec that the tenant was last brought to, or was begun to be:
    /// another version is reached by an upgrade from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Box<TenantSpec>>,
    /// What its Application said then, without the list of versions: the old
    /// version is gone back to with its own services and routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_application: Option<Box<ApplicationSpec>>,
    /// The upgrade, backup or restore that is under way: its journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How many operations were begun.
    #[serde(default)]
    pub operations: u64,
    /// The last operations that ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<OperationStatus>,
    /// What failed and is not tried again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedUpgrade>,
    /// What somebody asked for and did not begin yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// When a backup was last made or tried (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<String>,
    /// When the newest backup was made (RFC 3339, UTC); one that is deleted by
    /// hand still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_backup: Option<String>,
    /// The database's schema version, as it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// What the tenant's use of the disk means, as it was last looked at; absent
    /// without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskRecord>,
    /// Where the manifest's content came from.
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,
    /// What was put right of late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fought: Vec<Fought>,
}

impl Record {
    /// The revision of a service that has to be restarted: no digest is empty.
    pub const STALE: &'static str = "";

    /// The digest of what is being applied: until it was in full, nothing on
    /// the host is drift. No digest is empty.
    pub const APPLYING: &'static str = "";

    /// The record of a tenant that is new here.
    #[must_use]
    pub fn new(tenant: Tenant, file: String) -> Self {
        Self {
            tenant,
            file,
            generation: 1,
            revision: None,
            created: None,
            phase: Phase::Active,
            ports: Ports::default(),
            services: BTreeMap::new(),
            applied: None,
            deployed: None,
            deployed_application: None,
            operation: None,
            operations: 0,
            history: Vec::new(),
            failed: None,
            request: None,
            backed_up: None,
            newest_backup: None,
            schema_version: None,
            disk: None,
            fought: Vec::new(),
            provenance: Provenance::default(),
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
        if spec_changed {
            // Another spec is another try.
            self.failed = None;
        }
        if changed {
            if !self.provenance.is_empty() {
                let json = |of: &Tenant| serde_json::to_value(of).unwrap_or_default();
                let change = (&json(&self.tenant), &json(tenant));
                self.provenance.changed(crate::api::Kind::Tenant, change);
            }
            self.tenant = tenant.clone();
            file.clone_into(&mut self.file);
            self.phase = Phase::Active;
        }
        changed
    }
}

/// How many operations that ended are remembered.
const HISTORY: usize = 10;

impl Record {
    /// What the tenant is to be kept at now; `None` if nothing of it may run.
    /// While an upgrade is due, waits, or has failed, that is what was
    /// deployed; policies are always those of the newest manifest.
    #[must_use]
    pub fn effective(&self) -> Option<Tenant> {
        let wanted = &self.tenant.spec;
        let deployed = self.deployed.as_deref();
        let spec = match &self.operation {
            Some(operation) => match operation.phase {
                Step::Switching | Step::Verifying => Some(&*operation.to),
                _ => operation.from.as_deref(),
            },
            None if self.has_failed() || self.is_upgrade_due() => deployed,
            None => Some(wanted),
        };
        let spec = spec?.clone().with_policies_of(wanted);
        Some(Tenant {
            spec,
            ..self.tenant.clone()
        })
    }

    /// The Application that a spec of this tenant runs by: the one there is now,
    /// or, while the tenant is to run another version, what was deployed.
    #[must_use]
    pub fn application_for(&self, spec: &TenantSpec, current: &Application) -> Application {
        let wanted = match &self.operation {
            Some(operation) => &operation.to,
            None => &self.tenant.spec,
        };
        let deployed = self.deployed.as_deref();
        let is_old = deployed.is_some_and(|deployed| deployed.is_same_release(spec))
            && !wanted.is_same_release(spec);
        let mut out = current.clone();
        if let Some(deployed) = self.deployed_application.as_ref().filter(|_| is_old) {
            out.spec = ApplicationSpec {
                versions: std::mem::take(&mut out.spec.versions),
                ..(**deployed).clone()
            };
        }
        out
    }

    /// The operation that is under way, or else the last one, for a status.
    #[must_use]
    pub fn operation_status(&self) -> Option<OperationStatus> {
        let current = self.operation.as_ref().map(Operation::status);
        current.or_else(|| self.history.last().cloned())
    }

    /// Begins an operation that is due. One that is halted ends as it is.
    pub fn begin(&mut self, operation: Operation) {
        self.operations += 1;
        if let Some(mut halted) = self.operation.take() {
            halted.ended = Some(operation.started.clone());
            self.remember(halted.status());
        }
        let wish = self.request.as_ref().map(|request| &request.wish);
        let stays = match wish {
            // It is made afterwards.
            Some(Wish::Backup { .. }) => operation.kind == Kind::Upgrade,
            // Until that version is asked for.
            Some(Wish::Upgrade { .. }) => operation.kind != Kind::Upgrade,
            Some(Wish::Restore { .. }) | None => false,
        };
        if !stays {
            self.request = None;
        }
        if operation.kind == Kind::Backup {
            self.backed_up = Some(operation.started.clone());
        }
        self.operation = Some(operation);
    }

    fn remember(&mut self, ended: OperationStatus) {
        self.history.push(ended);
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
    }

    /// Takes in that the operation has come to this.
    pub fn end(&mut self, next: Next) {
        let over = matches!(next, Next::Succeeded | Next::Failed);
        let Some(operation) = self.operation.take_if(|_| over) else {
            return;
        };
        self.remember(operation.status());
        if operation.backed_up {
            self.backed_up.clone_from(&operation.ended);
            self.newest_backup.clone_from(&operation.ended);
        }
        match (next, operation.failure) {
            (Next::Succeeded, _) => {
                if operation.kind == Kind::Upgrade {
                    self.failed = None;
                }
                self.deployed = Some(operation.to);
            }
            (_, Some(failure)) if operation.kind == Kind::Upgrade => {
                let spec = operation.to;
                self.failed = Some(FailedUpgrade { spec, failure });
            }
            _ => {}
        }
    }

    /// Drops an operation that has changed nothing yet; what it was asked for
    /// still is, unless the spec asks for another version now. Returns whether
    /// there was one.
    pub fn drop_preparing(&mut self) -> bool {
        let preparing = |operation: &mut Operation| operation.is_preparing();
        let Some(dropped) = self.operation.take_if(preparing) else {
            return false;
        };
        let (at, wish) = (dropped.started.clone(), dropped.wish());
        let version = &self.tenant.spec.version;
        let lost = matches!(&wish, Wish::Upgrade { version: wished, .. } if wished != version);
        if self.request.is_none() && !lost {
            self.request = Some(Request { at, wish });
        }
        true
    }

    /// Has what failed tried again, or an operation that is halted go on.
    /// Returns whether there was either.
    pub fn retry(&mut self, now: &str) -> bool {
        if let Some(anew) = self.operation.as_ref().filter(|o| o.begins_anew()) {
            let (at, wish) = (now.to_owned(), anew.wish());
            self.request = Some(Request { at, wish });
            return true;
        }
        let resumed = self
            .operation
            .as_mut()
            .is_some_and(|operation| operation.resume(now));
        resumed || self.failed.take().is_some()
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

/// What a managed unit file says of its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The tenant.
    pub tenant: TenantName,
    /// The service that the unit runs.
    pub service: ObjectName,
    /// The tenant's slot in the port range; absent if its ports are fixed.
    pub slot: Option<u16>,
    /// The service's port.
    pub port: u16,
    /// The version that the unit runs; absent in units of earlier operators.
    pub version: Option<Version>,
}

/// Reads what a managed unit file says of its tenant. `None` if the file is
/// not a managed unit.
#[must_use]
pub fn recover(unit_file: &[u8]) -> Option<Recovered> {
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
    Some(Recovered {
        tenant,
        service: fields.get("Service")?.parse().ok()?,
        slot,
        port: fields.get("Port")?.parse().ok()?,
        version: fields
            .get("Version")
            .and_then(|version| version.parse().ok()),
    })
}
