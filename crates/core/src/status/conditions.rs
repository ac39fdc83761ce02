//! What a pass found, as conditions.

use super::{COPIED, Copying, Facet, Pass, Problem};
use crate::api::{Condition, ConditionStatus, TenantStatus};
use crate::certificate;
use crate::plan::Hold;

/// All of a tenant's conditions, in the order in which they are shown.
pub(super) fn conditions(pass: Pass<'_>) -> Vec<Condition> {
    let mut found = Found {
        pass,
        out: Vec::new(),
    };
    found.ready();
    for facet in Facet::ALL {
        found.facet(facet);
    }
    let (drifted, reason, message) = drifted(pass);
    found.add("Drifted", drifted, reason, message);
    if let Some(verdict) = pass.certificate {
        let (reason, message) = (verdict.reason, verdict.message.clone());
        found.add(certificate::CONDITION, verdict.status, reason, message);
    }
    found.copies();
    if pass.desired.is_none() {
        found.keep(certificate::CONDITION);
    }
    found.out
}

struct Found<'a> {
    pass: Pass<'a>,
    out: Vec<Condition>,
}

impl Found<'_> {
    fn add(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: String) {
        let pass = self.pass;
        self.out.push(Condition {
            kind: kind.to_owned(),
            status,
            observed_generation: pass.record.generation,
            last_transition_time: since(kind, status, pass.previous, pass.now),
            reason: reason.to_owned(),
            message,
        });
    }

    /// As it was: nothing was found out about it.
    fn keep(&mut self, kind: &str) {
        let before = self.pass.previous.and_then(|before| before.condition(kind));
        self.out.extend(before.cloned());
    }

    fn ready(&mut self) {
        let pass = self.pass;
        if let Some(Hold::Suspended) = pass.plan.hold {
            let message = "spec.suspend is set; the operator leaves the tenant as it is";
            let status = ConditionStatus::Unknown;
            return self.add("Ready", status, "Suspended", message.into());
        }
        let lasting = pass.problems.iter().find(|problem| !problem.passing);
        let Some(problem) = lasting.or(pass.problems.first()) else {
            let count = pass.record.ports.by_service.len();
            let message = format!("{count} of {count} services are ready");
            return self.add("Ready", ConditionStatus::True, "Ready", message);
        };
        let kind = match problem.passing {
            true => "Reconciling",
            false => "Stalled",
        };
        let (reason, message) = (&problem.reason, &problem.message);
        self.add(
            "Ready",
            ConditionStatus::False,
            reason.as_str(),
            message.clone(),
        );
        self.add(
            kind,
            ConditionStatus::True,
            reason.as_str(),
            message.clone(),
        );
    }

    fn facet(&mut self, facet: Facet) {
        let pass = self.pass;
        let problems: Vec<&Problem> = pass.problems.iter().filter(|p| p.facet == facet).collect();
        let concerns = match facet {
            Facet::SharedDatabase => pass.record.tenant.spec.database.i360,
            Facet::Secrets => !pass.observed.secrets.is_empty(),
            Facet::Network => pass.observed.isolated,
            Facet::Disk => pass.record.disk.is_some(),
            _ => true,
        };
        match problems.first() {
            None if !concerns => {}
            None => {
                let (reason, message) = fine(facet, pass);
                self.add(facet.condition(), ConditionStatus::True, reason, message);
            }
            Some(first) => {
                let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
                let message = messages.join("; ");
                let status = ConditionStatus::False;
                self.add(facet.condition(), status, first.reason.as_str(), message);
            }
        }
    }

    fn copies(&mut self) {
        match self.pass.copying {
            Copying::Nowhere => {}
            Copying::Unknown => self.keep(COPIED),
            Copying::Done => {
                let message = "its backups are copied off the host";
                self.add(COPIED, ConditionStatus::True, "Copied", message.into());
            }
            Copying::Failed(message) => {
                self.add(COPIED, ConditionStatus::False, "NotCopied", message.clone());
            }
        }
    }
}

fn drifted(pass: Pass<'_>) -> (ConditionStatus, &'static str, String) {
    let drifts: Vec<String> = pass.plan.drifts.iter().map(ToString::to_string).collect();
    let drifts = drifts.join("; ");
    match pass.plan.hold {
        Some(Hold::Suspended) => (
            ConditionStatus::Unknown,
            "Suspended",
            "spec.suspend is set; what differs is left as it is".into(),
        ),
        Some(Hold::Fought { times }) => (
            ConditionStatus::True,
            "Fought",
            format!("put right {times} times and undone again, so the next time waits: {drifts}"),
        ),
        Some(Hold::Detect) if drifts.is_empty() => {
            let steps: Vec<String> = pass
                .plan
                .steps
                .iter()
                .map(|step| format!("{} ({})", step.action, step.reason))
                .collect();
            let steps = steps.join("; ");
            let message = format!("driftPolicy is Detect; to put it right: {steps}");
            (ConditionStatus::True, "Detected", message)
        }
        Some(Hold::Detect) => (
            ConditionStatus::True,
            "Detected",
            format!("driftPolicy is Detect; what differs is left as it is: {drifts}"),
        ),
        None if !drifts.is_empty() => (ConditionStatus::True, "Detected", drifts),
        None => (
            ConditionStatus::False,
            "InSync",
            "the host is as it was applied".into(),
        ),
    }
}

fn fine(facet: Facet, pass: Pass<'_>) -> (&'static str, String) {
    match facet {
        Facet::Manifest => ("Accepted", format!("generation {}", pass.record.generation)),
        Facet::Ports => {
            let ports = &pass.record.ports;
            let slot = ports
                .slot
                .map_or("fixed ports".to_owned(), |slot| format!("slot {slot}"));
            let message = [slot]
                .into_iter()
                .chain(ports.skipped.iter().cloned())
                .collect::<Vec<_>>();
            ("Allocated", message.join("; "))
        }
        Facet::Prepared => (
            "Installed",
            format!("version {}", pass.record.tenant.spec.version),
        ),
        Facet::Version => (
            "Current",
            format!("version {}", pass.record.tenant.spec.version),
        ),
        Facet::Services => ("Running", "every service runs and answers".into()),
        Facet::Proxy => match pass.desired {
            Some(desired) if desired.site.is_none() => {
                ("NoDomains", "the tenant has no domains".into())
            }
            _ => ("Live", "the site is live".into()),
        },
        Facet::Secrets => ("Readable", "all secrets can be read".into()),
        Facet::SharedDatabase => ("Available", "the i360 database can be read".into()),
        Facet::Network => (
            "Isolated",
            "nobody but the tenant, root and nginx connects to its ports".into(),
        ),
        Facet::Disk => match &pass.record.disk {
            Some(disk) => crate::disk::fine(disk),
            None => ("Within", "the tenant has no limit".into()),
        },
    }
}

/// When the condition's status last changed.
pub(super) fn since(
    kind: &str,
    status: ConditionStatus,
    previous: Option<&TenantStatus>,
    now: &str,
) -> String {
    match previous.and_then(|previous| previous.condition(kind)) {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => now.to_owned(),
    }
}
