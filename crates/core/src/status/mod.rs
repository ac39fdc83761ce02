//! The status of a tenant: what was planned, done and seen, as conditions.
//!
//! The reconciler collects [`Problem`]s; [`TenantStatus::of`] turns them into
//! conditions that follow kstatus
//! (<https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus>):
//! `Reconciling` and `Stalled` are there only while they hold. Times are
//! carried over from the status before, so that a status that means the same
//! is the same (law 8): no heartbeat, no churn.

mod conditions;
mod reason;

use std::collections::BTreeMap;

use self::conditions::{conditions, since};
pub use self::reason::{ProblemReason, reference};
use crate::api::{
    CertificateStatus, Condition, ConditionStatus, DiskStatus, ServiceStatus, TenantStatus,
};
use crate::certificate::Verdict;
use crate::desired::Desired;
use crate::drift::DriftStatus;
use crate::observed::{Health, Observed};
use crate::plan::{Aspect, Hold, Plan};
use crate::record::Record;
use crate::types::ObjectName;

/// An aspect of a tenant that has a condition of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// `ManifestAccepted`: the manifest, its Application and the Host fit
    /// together.
    Manifest,
    /// `PortsAllocated`: the tenant has its ports.
    Ports,
    /// `Prepared`: user, folders and the release are there.
    Prepared,
    /// `VersionCurrent`: the tenant runs the version that its spec asks for,
    /// and no upgrade, backup or restore is under way.
    Version,
    /// `ServicesReady`: the services run and answer.
    Services,
    /// `ProxyReady`: nginx serves the tenant's domains.
    Proxy,
    /// `SharedDatabaseReady`: the i360 database is there; only for tenants
    /// that use it.
    SharedDatabase,
    /// `SecretsReady`: the tenant's secrets can be read; only for tenants that
    /// have some.
    Secrets,
    /// `NetworkIsolated`: nobody but the tenant, root and nginx connects to its
    /// ports; only where the Host has that enforced.
    Network,
    /// `DiskWithinLimit`: what the tenant has on disk is below its limit; only
    /// for tenants that have one, once it was looked at.
    Disk,
}

impl Facet {
    const ALL: [Facet; 10] = [
        Facet::Manifest,
        Facet::Ports,
        Facet::Prepared,
        Facet::Version,
        Facet::Services,
        Facet::Proxy,
        Facet::SharedDatabase,
        Facet::Secrets,
        Facet::Network,
        Facet::Disk,
    ];

    /// The condition's type.
    #[must_use]
    pub fn condition(self) -> &'static str {
        match self {
            Facet::Manifest => "ManifestAccepted",
            Facet::Ports => "PortsAllocated",
            Facet::Prepared => "Prepared",
            Facet::Version => "VersionCurrent",
            Facet::Services => "ServicesReady",
            Facet::Proxy => "ProxyReady",
            Facet::SharedDatabase => "SharedDatabaseReady",
            Facet::Secrets => "SecretsReady",
            Facet::Network => "NetworkIsolated",
            Facet::Disk => "DiskWithinLimit",
        }
    }

    /// The facet that a failed or blocked step of this aspect is about.
    #[must_use]
    pub fn of_aspect(aspect: Aspect) -> Facet {
        match aspect {
            Aspect::Base => Facet::Prepared,
            Aspect::Services | Aspect::Data => Facet::Services,
            Aspect::Proxy => Facet::Proxy,
        }
    }
}

/// The condition of the copies of a tenant's backups, see [`Copying`].
const COPIED: &str = "BackupsCopied";

/// Something that keeps a tenant from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub facet: Facet,
    /// Why, for programs and the reference.
    pub reason: ProblemReason,
    /// What is wrong and what would be right.
    pub message: String,
    /// Whether the operator expects it to pass by itself, soon.
    pub passing: bool,
}

impl Problem {
    /// A problem that a person, or time, has to solve.
    #[must_use]
    pub fn new(facet: Facet, reason: ProblemReason, message: impl Into<String>) -> Self {
        Self {
            facet,
            reason,
            message: message.into(),
            passing: false,
        }
    }

    /// A problem that is expected to pass by itself.
    #[must_use]
    pub fn passing(facet: Facet, reason: ProblemReason, message: impl Into<String>) -> Self {
        Self {
            passing: true,
            ..Self::new(facet, reason, message)
        }
    }
}

/// What is known of the copies of a tenant's backups off the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Copying {
    /// The Host names no destination.
    #[default]
    Nowhere,
    /// The operator has not looked since its start: what was said before stands.
    Unknown,
    /// Every backup that there was had a copy.
    Done,
    /// Not every backup has one, for this reason.
    Failed(String),
}

/// All that a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The tenant's record.
    pub record: &'a Record,
    /// The desired state; absent if the objects do not fit together.
    pub desired: Option<&'a Desired>,
    /// What is left to do after the pass.
    pub plan: &'a Plan,
    /// What was seen after the pass.
    pub observed: &'a Observed,
    /// The services' answers.
    pub health: &'a BTreeMap<ObjectName, Health>,
    /// What keeps the tenant from being ready.
    pub problems: &'a [Problem],
    /// What is known of copies of its backups. It does not keep the tenant from
    /// being ready.
    pub copying: &'a Copying,
    /// What has to be said of its certificate, if it is to have one and the
    /// desired state is there. It does not keep the tenant from being ready.
    pub certificate: Option<&'a Verdict>,
    /// The status before.
    pub previous: Option<&'a TenantStatus>,
    /// The time, RFC 3339 in UTC.
    pub now: &'a str,
}

impl TenantStatus {
    /// The status after a pass. Equal to the one before if nothing of meaning
    /// changed.
    #[must_use]
    pub fn of(pass: Pass<'_>) -> Self {
        let mut status = Self {
            observed_generation: pass.record.generation,
            observed_revision: pass.record.revision.clone(),
            ports: pass
                .record
                .ports
                .by_service
                .iter()
                .map(|(s, p)| (s.to_string(), *p))
                .collect(),
            ..Self::default()
        };
        match (pass.desired, pass.previous) {
            (Some(desired), _) => describe(&mut status, desired, pass),
            // What ran before is still what runs.
            (None, Some(previous)) => {
                status = Self {
                    observed_generation: pass.record.generation,
                    observed_revision: pass.record.revision.clone(),
                    ..previous.clone()
                }
            }
            (None, None) => {}
        }
        status.operation = pass.record.operation_status();
        status.disk = pass.record.disk.as_ref().map(|disk| DiskStatus {
            limit: disk.limit.clone(),
            enforcement: disk.enforcement,
        });
        if status.schema_version.is_none() {
            status.schema_version = pass.record.schema_version;
        }
        status.drift = match (pass.plan.hold, pass.previous) {
            (Some(Hold::Suspended), _) => Vec::new(),
            (_, previous) => {
                let before = previous.map_or(&[][..], |previous| &previous.drift);
                DriftStatus::of(&pass.plan.drifts, before, pass.now)
            }
        };
        status.conditions = conditions(pass);
        status
    }

    /// The status of a manifest that never was good enough to become a tenant.
    #[must_use]
    pub fn refused(message: &str, previous: Option<&TenantStatus>, now: &str) -> Self {
        let conditions = [
            ("Ready", ConditionStatus::False),
            ("Stalled", ConditionStatus::True),
            (Facet::Manifest.condition(), ConditionStatus::False),
        ];
        let conditions = conditions.into_iter().map(|(kind, status)| Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: 0,
            last_transition_time: since(kind, status, previous, now),
            reason: ProblemReason::Refused.to_string(),
            message: message.to_owned(),
        });
        Self {
            conditions: conditions.collect(),
            ..Self::default()
        }
    }

    /// The status of a tenant that is being removed. With problems it is stuck:
    /// what is left of it is neither served nor looked after.
    #[must_use]
    pub fn removing(
        record: &Record,
        problems: &[Problem],
        previous: Option<&TenantStatus>,
        now: &str,
    ) -> Self {
        let first = problems.iter().find(|p| !p.passing).or(problems.first());
        let (kind, reason) = match first {
            Some(problem) if !problem.passing => ("Stalled", ProblemReason::RemovalFailed),
            _ => ("Reconciling", ProblemReason::Removing),
        };
        let mut message = "its manifest is gone and it is being removed".to_owned();
        for problem in problems {
            message.push_str("; ");
            message.push_str(&problem.message);
        }
        let conditions = [
            ("Ready", ConditionStatus::False),
            (kind, ConditionStatus::True),
        ];
        let conditions = conditions.into_iter().map(|(kind, status)| Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: record.generation,
            last_transition_time: since(kind, status, previous, now),
            reason: reason.to_string(),
            message: message.clone(),
        });
        Self {
            observed_generation: record.generation,
            observed_revision: record.revision.clone(),
            conditions: conditions.collect(),
            ..Self::default()
        }
    }

    /// Whether the tenant is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.condition("Ready")
            .is_some_and(|ready| ready.status == ConditionStatus::True)
    }
}

fn describe(status: &mut TenantStatus, desired: &Desired, pass: Pass<'_>) {
    status.release = pass
        .observed
        .release
        .then(|| desired.release.path.display().to_string());
    status.urls.clone_from(&desired.urls);
    let certificate = desired
        .tls
        .as_ref()
        .and_then(|tls| tls.certificate.as_ref());
    status.certificate = certificate.map(|(_, facts)| CertificateStatus {
        not_before: facts.not_before.to_string(),
        not_after: facts.not_after.to_string(),
        names: facts.names.clone(),
    });
    status.services = desired
        .services
        .iter()
        .map(|service| {
            let unit = pass
                .observed
                .units
                .get(&service.unit)
                .cloned()
                .unwrap_or_default();
            let or = |text: String, default: &str| {
                if text.is_empty() {
                    default.to_owned()
                } else {
                    text
                }
            };
            ServiceStatus {
                name: service.name.to_string(),
                unit: service.unit.clone(),
                active_state: or(unit.active_state, "inactive"),
                sub_state: or(unit.sub_state, "dead"),
                invocation_id: unit.invocation_id,
                healthy: pass.health.get(&service.name).map(|health| health.ok),
                sandbox_exceptions: service
                    .exceptions
                    .iter()
                    .map(|exception| exception.as_str().to_owned())
                    .collect(),
            }
        })
        .collect();
    let answers = || {
        desired
            .services
            .iter()
            .filter_map(|service| pass.health.get(&service.name))
    };
    status.version = answers().find_map(|health| health.version.clone());
    status.schema_version = answers().find_map(|health| health.schema_version);
}

#[cfg(test)]
mod tests;
