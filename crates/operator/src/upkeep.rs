//! What the host as a whole needs, looked at now and then: the reservation of
//! the port range, and the rules that keep tenants from each other's ports.
//!
//! What somebody changed of that is drift of the host, told as that of a tenant
//! is: events about the Host, metrics, an alert, and `cbctl drift`. How things
//! are put back is `cb_host`'s; here they are told of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cb_core::api::{DriftPolicy, Host, Kind};
use cb_core::drift::{Drift, DriftKind, DriftStatus};
use cb_core::event::{Event, Reason};
use cb_host::{HostDrift, SystemHost};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::state::State;
use crate::tenant::Engine;

/// The condition of an alert about the host's own drift.
const DRIFTED: &str = "Drifted";
/// How long something that was put right is an alert, as of a tenant.
const SHOWN: Duration = Duration::from_secs(300);

/// Keeps the host as it has to be, until `stop` is cancelled.
pub async fn run(engine: Arc<Engine<SystemHost>>, period: Duration, stop: CancellationToken) {
    let correct = engine.spec.spec.defaults.drift_policy == DriftPolicy::Correct;
    let mut teller = Teller {
        state: &engine.state,
        spec: &engine.spec,
        recorder: &engine.recorder,
        metrics: &engine.metrics,
        corrected: Vec::new(),
    };
    let mut said = None;
    let mut timer = tokio::time::interval(period);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        let reserved = engine.host.reserve_ports(correct).await;
        let isolated = engine.host.keep_network().await;
        let mut troubles = Vec::new();
        let mut drifts = Vec::new();
        match reserved {
            Ok(drift) => drifts.extend(drift),
            Err(error) => troubles.push(error.to_string()),
        }
        match isolated {
            Ok(drift) => drifts.extend(drift),
            Err(error) => troubles.push(error.to_string()),
        }
        let left = teller.tell(&drifts, &engine.drifts.of_host());
        engine.drifts.set_of_host(left);
        let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        if trouble != said {
            match &trouble {
                Some(trouble) => tracing::warn!("{trouble}"),
                None => tracing::info!("the host is as it should be again"),
            }
            said = trouble;
        }
    }
}

/// Whom drift of the host is told.
struct Teller<'a> {
    state: &'a State,
    spec: &'a Host,
    recorder: &'a Recorder,
    metrics: &'a Metrics,
    /// What was put right a moment ago, and when: people are told of it too.
    corrected: Vec<(Drift, Instant)>,
}

impl Teller<'_> {
    /// Tells of what a look found. Returns what is left as it is, in the form
    /// of a status.
    fn tell(&mut self, found: &[HostDrift], before: &[DriftStatus]) -> Vec<DriftStatus> {
        let name = self.spec.metadata.name.as_str();
        for HostDrift { drift, corrected } in found {
            let is_known = |known: &DriftStatus| {
                (known.kind.as_str(), &known.detail) == (drift.kind.as_str(), &drift.detail)
            };
            let reason = if *corrected {
                self.metrics.drift_corrected(drift.kind);
                self.corrected.push((drift.clone(), Instant::now()));
                Reason::DriftCorrected
            } else if before.iter().any(is_known) {
                continue;
            } else {
                Reason::DriftDetected
            };
            tracing::warn!(kind = drift.kind.as_str(), "{reason}: {drift}");
            let event = Event::new(Kind::Host, name, reason, drift.to_string());
            self.recorder.record(event);
        }
        let left = found.iter().filter(|found| !found.corrected);
        let left: Vec<Drift> = left.map(|found| found.drift.clone()).collect();
        self.corrected.retain(|(_, at)| at.elapsed() < SHOWN);
        let all = left
            .iter()
            .chain(self.corrected.iter().map(|(drift, _)| drift));
        let alerts: BTreeSet<(DriftKind, String)> =
            all.map(|drift| (drift.kind, drift.to_string())).collect();
        self.state.set_host_problems(DRIFTED, alerts);
        DriftStatus::of(&left, before, &crate::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(corrected: bool) -> [HostDrift; 1] {
        let drift = Drift {
            kind: DriftKind::PortsNotReserved,
            what: "/etc/sysctl.d/60-cb.conf".into(),
            detail: "the running kernel does not reserve the port range".into(),
            by: None,
        };
        [HostDrift { drift, corrected }]
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told_once_and_what_is_put_back_each_time() {
        let spec: Host = serde_yaml::from_str(
            "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: one}}",
        )
        .unwrap();
        let store = crate::records::RecordFolder::new("/nonexistent".into());
        let state = State::new(Arc::new(store), [], []);
        let recorder = Recorder::new("one", Vec::new());
        let metrics = Metrics::new();
        let mut teller = Teller {
            state: &state,
            spec: &spec,
            recorder: &recorder,
            metrics: &metrics,
            corrected: Vec::new(),
        };
        let told = |reason: Reason| {
            let items = recorder.published().list().items.into_iter();
            let of = items.filter(|(_, item)| item.value.series.event.reason == reason);
            of.map(|(_, item)| item.value.series.count).sum::<u64>()
        };
        let left = teller.tell(&found(false), &[]);
        let left = teller.tell(&found(false), &left);
        assert_eq!((left.len(), told(Reason::DriftDetected)), (1, 1));
        assert_eq!(state.host_problems().borrow().judge().firing.len(), 1);
        assert_eq!(teller.tell(&found(true), &left), []);
        teller.tell(&found(true), &[]);
        assert_eq!(told(Reason::DriftCorrected), 2);
        assert_eq!(teller.tell(&[], &[]), []);
        assert_eq!(state.host_problems().borrow().judge().firing.len(), 1);
        tokio::time::advance(SHOWN).await;
        assert_eq!(teller.tell(&[], &[]), []);
        assert!(state.host_problems().borrow().judge().firing.is_empty());
        let text = metrics.text();
        assert!(text.contains("cb_drift_corrected_total{kind=\"PortsNotReserved\"} 2"));
    }
}
