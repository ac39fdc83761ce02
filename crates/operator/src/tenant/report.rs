//! What a pass found out becomes the tenant's status: kept, written beside the
//! manifest, and told in the log and as events when it changes.

use std::collections::BTreeMap;

use cb_core::api::TenantStatus;
use cb_core::certificate::{self, Issuing, Verdict};
use cb_core::observed::Health;
use cb_core::record::Record;
use cb_core::status::{Copying, Pass, Problem};
use cb_core::types::{ObjectName, TenantName};
use jiff::{SignedDuration, Timestamp};

use super::{Again, Engine, Findings, events};

impl<H: cb_host::Host> Engine<H> {
    /// Returns whether the status is written.
    pub(super) async fn report(
        &self,
        record: &Record,
        findings: &Findings,
        health: &BTreeMap<ObjectName, Health>,
    ) -> bool {
        let name = record.name();
        let previous = self.state.status(name);
        let now = crate::now();
        let status = TenantStatus::of(Pass {
            record,
            desired: findings.desired.as_ref(),
            plan: &findings.plan,
            observed: &findings.observed,
            health,
            problems: &findings.problems,
            copying: &self.copying(name),
            certificate: self.certificate(record, findings).as_ref(),
            previous: previous.as_deref(),
            now: &now,
        });
        if previous.as_deref() != Some(&status) {
            self.announce(name, previous.as_deref(), &status);
        }
        let written = self.sink.write(record, &status).await;
        self.state.set_status(name, status);
        written
    }

    /// Reports that the tenant could not be looked at.
    pub(super) async fn cannot_look(&self, name: &TenantName, problem: Problem) -> Again {
        if let Some(record) = self.state.record(name) {
            // What was seen last is still the best there is.
            let findings = Findings {
                problems: vec![problem],
                ..Findings::default()
            };
            self.report(&record, &findings, &BTreeMap::new()).await;
        }
        Again::Backoff
    }

    /// Tells of a change of the status, in the log and as events.
    pub(super) fn announce(
        &self,
        name: &TenantName,
        previous: Option<&TenantStatus>,
        status: &TenantStatus,
    ) {
        log_change(name, previous, status);
        for event in events::of_status(name, previous, status) {
            self.recorder.record(event);
        }
    }

    /// What has to be said of the tenant's certificate.
    fn certificate(&self, record: &Record, findings: &Findings) -> Option<Verdict> {
        let tls = findings.desired.as_ref()?.tls.as_ref()?;
        let served = tls.certificate.as_ref().map(|(_, facts)| facts);
        let warn =
            SignedDuration::from_hours(24 * i64::from(self.spec.spec.certificates.warn_days));
        let issuing = self.acme.as_ref();
        let issuing = issuing.map_or(Issuing::Quiet, |acme| acme.issuing(record.name()));
        Some(certificate::judge(
            &record.tenant,
            (served, tls.trouble.as_deref()),
            &issuing,
            warn,
            Timestamp::now(),
        ))
    }

    fn copying(&self, name: &TenantName) -> Copying {
        let offsite = self.offsite.as_ref();
        offsite.map_or(Copying::Nowhere, |offsite| offsite.copying(name))
    }
}

fn log_change(name: &TenantName, previous: Option<&TenantStatus>, status: &TenantStatus) {
    let ready = |s: &TenantStatus| {
        s.condition("Ready")
            .map(|c| (c.status, c.reason.clone(), c.message.clone()))
    };
    let after = ready(status);
    if previous.and_then(ready) == after {
        return;
    }
    if let Some((ready, reason, message)) = after {
        let word = if status.is_ready() {
            "ready"
        } else {
            "not ready"
        };
        tracing::info!(tenant = %name, ready = ready.as_str(), reason, "{name}: {word} ({reason}): {message}");
    }
}
