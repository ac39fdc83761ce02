//! Drift over the passes: what of it was put right, how often, and what is
//! told of it.
//!
//! What differs is named by the planner (`cb_core::drift`). Here is what needs
//! a memory: something that is undone again and again must not be fought at
//! full speed, and what happened is told once. How often is in the tenants'
//! records too, so that a restart of the operator does not begin anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::api::TenantStatus;
use cb_core::desired::Desired;
use cb_core::drift::{Drift, DriftKind, DriftStatus, Fought};
use cb_core::event::{Event, Reason};
use cb_core::observed::Health;
use cb_core::plan::{Cause, Hold, Plan};
use cb_core::record::Record;
use cb_core::status::{Facet, Problem};
use cb_core::types::TenantName;
use cb_host::Host;
use jiff::Timestamp;
use tokio::time::Instant;

use super::problem::not_saved;
use super::{Engine, Findings};

/// So many corrections of the same thing within this time are made at once.
const AT_ONCE: (usize, Duration) = (3, Duration::from_secs(600));
/// How long the next one waits then, at first and at most; doubled each time.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Remembers what was put right.
#[derive(Debug, Default)]
pub struct Drifts {
    fights: Mutex<Fights>,
    /// What differs of the host itself and is left as it is.
    host: Mutex<Vec<DriftStatus>>,
}

type Fights = BTreeMap<TenantName, BTreeMap<(DriftKind, String), Fight>>;

#[derive(Debug, Default)]
struct Fight {
    /// The corrections of late.
    recent: VecDeque<Instant>,
    /// How many there were since it was quiet.
    times: u32,
    /// How many pauses there were.
    pauses: u32,
}

impl Fight {
    fn pause(&self) -> Duration {
        match self.pauses {
            0 => Duration::ZERO,
            n => PAUSE.1.min(PAUSE.0 * 2u32.saturating_pow((n - 1).min(10))),
        }
    }

    /// How long the next correction has to wait.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let until = *self.recent.back()? + self.pause();
        until
            .checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    fn is_quiet(&self, now: Instant) -> bool {
        let last = self.recent.back();
        last.is_none_or(|last| now.saturating_duration_since(*last) > AT_ONCE.1 + self.pause())
    }

    fn corrected(&mut self, now: Instant) {
        if self.is_quiet(now) {
            *self = Self::default();
        }
        self.times += 1;
        self.recent.push_back(now);
        if self.recent.len() > AT_ONCE.0 {
            self.recent.pop_front();
        }
        let is_full = self.recent.len() == AT_ONCE.0;
        let first = self.recent.front().copied().unwrap_or(now);
        if self.pauses > 0 || (is_full && now - first <= AT_ONCE.1) {
            self.pauses += 1;
        }
    }
}

impl Fight {
    /// As it was saved. Times of a clock that was set since count as now.
    fn of(saved: &Fought, now: (Instant, Timestamp)) -> Self {
        let at = |then: &Timestamp| {
            let age = Duration::try_from(now.1.duration_since(*then)).unwrap_or_default();
            now.0.checked_sub(age)
        };
        Self {
            recent: saved.recent.iter().filter_map(at).collect(),
            times: saved.times,
            pauses: saved.pauses,
        }
    }

    fn save(&self, (kind, what): &(DriftKind, String), now: (Instant, Timestamp)) -> Fought {
        let at = |then: &Instant| now.1 - now.0.saturating_duration_since(*then);
        Fought {
            kind: *kind,
            what: what.clone(),
            times: self.times,
            pauses: self.pauses,
            recent: self.recent.iter().map(at).collect(),
        }
    }
}

impl Drifts {
    /// What the records say.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let now = (Instant::now(), Timestamp::now());
        let fights = |record: &Record| {
            let fights = record.fought.iter().map(|saved| {
                let key = (saved.kind, saved.what.clone());
                (key, Fight::of(saved, now))
            });
            let fights: BTreeMap<_, _> = fights.collect();
            (!fights.is_empty()).then(|| (record.name().clone(), fights))
        };
        Self {
            fights: Mutex::new(records.into_iter().filter_map(fights).collect()),
            host: Mutex::default(),
        }
    }

    /// What differs of the host itself and is left as it is.
    #[must_use]
    pub fn of_host(&self) -> Vec<DriftStatus> {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.clone()
    }

    /// Sets what differs of the host itself.
    pub fn set_of_host(&self, drifts: Vec<DriftStatus>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = drifts;
    }

    fn lock(&self) -> MutexGuard<'_, Fights> {
        self.fights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a tenant that is gone.
    pub(super) fn forget(&self, tenant: &TenantName) {
        self.lock().remove(tenant);
    }

    /// Puts a plan on hold that would put right what is undone again and
    /// again. Returns for how long.
    pub(super) fn hold(&self, tenant: &TenantName, plan: &mut Plan) -> Option<Duration> {
        let is_drift = plan.steps.iter().any(|step| step.cause == Cause::Drift);
        if plan.hold.is_some() || !is_drift {
            return None;
        }
        let now = Instant::now();
        let fights = self.lock();
        let fights = fights.get(tenant)?;
        let fought = plan
            .drifts
            .iter()
            .filter_map(|drift| fights.get(&(drift.kind, drift.what.clone())));
        let (wait, times) = fought
            .filter_map(|fight| Some((fight.wait(now)?, fight.times)))
            .max()?;
        plan.hold = Some(Hold::Fought { times });
        Some(wait)
    }

    /// Returns what the record is to have.
    fn note(&self, tenant: &TenantName, corrected: &[&Drift]) -> Vec<Fought> {
        let now = Instant::now();
        let mut all = self.lock();
        let fights = all.entry(tenant.clone()).or_default();
        fights.retain(|_, fight| !fight.is_quiet(now));
        // A service that ends again and again has its own pause.
        for drift in corrected.iter().filter(|drift| !drift.kind.is_end_of_run()) {
            let key = (drift.kind, drift.what.clone());
            fights.entry(key).or_default().corrected(now);
        }
        let clock = (now, Timestamp::now());
        let saved = fights.iter().map(|(key, fight)| fight.save(key, clock));
        let saved = saved.collect();
        if fights.is_empty() {
            all.remove(tenant);
        }
        saved
    }
}

impl<H: Host> Engine<H> {
    /// Notes, before a change is applied, that from now on the host is not as
    /// it was applied: taking the change back is no drift.
    pub(super) async fn note_applying(&self, record: &Record, plan: &Plan) -> Result<(), Problem> {
        let applied = record.applied.as_deref();
        let is_change = plan
            .to_execute()
            .iter()
            .any(|step| step.cause == Cause::Change && !step.action.is_record());
        if !is_change || applied.is_none_or(|applied| applied == Record::APPLYING) {
            return Ok(());
        }
        let applying = |record: &mut Record| record.applied = Some(Record::APPLYING.to_owned());
        let noted = self.state.update(record.name(), applying).await;
        noted.map(drop).map_err(not_saved)
    }

    /// Tells of the drift that an executed plan has put right.
    pub(super) async fn note_corrected(
        &self,
        tenant: &TenantName,
        plan: &Plan,
        problems: &[Problem],
    ) {
        let failed = |facet: Facet| {
            problems
                .iter()
                .any(|problem| problem.facet == facet || problem.facet == Facet::Prepared)
        };
        let corrected: Vec<&Drift> = plan
            .drifts
            .iter()
            .filter(|drift| drift.kind.is_corrected() && !failed(facet(drift)))
            .filter(|drift| is_undone(drift, plan))
            .collect();
        if corrected.is_empty() {
            return;
        }
        let fought = self.drifts.note(tenant, &corrected);
        let saved = self.state.update(tenant, |record| record.fought = fought);
        if let Err(error) = saved.await {
            // It is saved with the next change of the record; until then it is
            // known here.
            tracing::debug!(tenant = %tenant, "{tenant}: {error}");
        }
        for drift in corrected {
            self.metrics.drift_corrected(drift.kind);
            tracing::info!(tenant = %tenant, kind = drift.kind.as_str(), "{tenant}: corrected {drift}");
            let event = Event::tenant(tenant, Reason::DriftCorrected, drift.to_string());
            self.recorder.record(event);
        }
    }

    /// The running application may tell of a database that somebody changed.
    pub(super) fn look_at_schema<'a>(
        &self,
        record: &Record,
        findings: &mut Findings,
        answers: impl IntoIterator<Item = &'a Health>,
    ) {
        let digest = findings.desired.as_ref().map(Desired::digest);
        if record.operation.is_none() && record.applied.is_some() && record.applied == digest {
            let drift = cb_core::drift::schema(record, answers);
            findings.plan.drifts.extend(drift);
        }
    }
}

/// Whether the plan has a step against it: what is blocked stays.
fn is_undone(drift: &Drift, plan: &Plan) -> bool {
    let facet = facet(drift);
    plan.steps
        .iter()
        .any(|step| step.cause == Cause::Drift && Facet::of_aspect(step.aspect) == facet)
}

/// What of a tenant a drift is about.
fn facet(drift: &Drift) -> Facet {
    use DriftKind::{
        FileChanged, FileDeleted, FileMode, FileOwner, FileReplaced, FolderMissing, FolderMode,
        FolderOwner, PortTaken, ReleaseChanged, SiteChanged, SiteDeleted, SiteMode, SiteNotLoaded,
        SiteOwner, SiteReplaced, UserHome, UserMissing, UserShell,
    };
    match drift.kind {
        SiteChanged | SiteDeleted | SiteMode | SiteNotLoaded | SiteOwner | SiteReplaced => {
            Facet::Proxy
        }
        FolderMissing | FolderMode | FolderOwner | ReleaseChanged | UserHome | UserMissing
        | UserShell => Facet::Prepared,
        // The user's definition.
        FileChanged | FileDeleted | FileMode | FileOwner | FileReplaced
            if !drift.what.ends_with("/.env") =>
        {
            Facet::Prepared
        }
        PortTaken => Facet::Ports,
        _ => Facet::Services,
    }
}

/// The events of drift that a status has and the one before had not, and of a
/// fight that goes on.
pub(super) fn events(
    tenant: &TenantName,
    previous: Option<&TenantStatus>,
    status: &TenantStatus,
) -> Vec<Event> {
    let drifted = |status: &TenantStatus| {
        let condition = status.condition("Drifted")?;
        Some((condition.reason.clone(), condition.message.clone()))
    };
    let now = drifted(status);
    if let Some((reason, message)) = &now
        && reason == "Fought"
    {
        let told = previous.and_then(drifted) == now;
        let event = Event::tenant(tenant, Reason::DriftFought, message.clone());
        return if told { Vec::new() } else { vec![event] };
    }
    let before = previous.map_or(&[][..], |previous| &previous.drift);
    let is_new = |drift: &&DriftStatus| {
        let same = |before: &DriftStatus| {
            (&before.kind, &before.what, &before.detail)
                == (&drift.kind, &drift.what, &drift.detail)
        };
        !before.iter().any(same)
    };
    let event =
        |drift: &DriftStatus| Event::tenant(tenant, Reason::DriftDetected, drift.to_string());
    status.drift.iter().filter(is_new).map(event).collect()
}

#[cfg(test)]
mod tests {
    use cb_core::plan::{Action, Aspect, Step};

    use super::*;

    fn name() -> TenantName {
        "ky04".parse().unwrap()
    }

    fn plan(kind: DriftKind) -> Plan {
        Plan {
            steps: vec![Step {
                aspect: Aspect::Services,
                action: Action::ReloadUnits,
                reason: String::new(),
                cause: Cause::Drift,
            }],
            drifts: vec![Drift {
                kind,
                what: "x".into(),
                detail: "d".into(),
                by: None,
            }],
            ..Plan::default()
        }
    }

    /// How long a correction has to wait after another one was made.
    fn round(drifts: &Drifts, kind: DriftKind) -> Option<Duration> {
        let mut plan = plan(kind);
        let wait = drifts.hold(&name(), &mut plan);
        assert_eq!(wait.is_some(), plan.hold.is_some());
        if wait.is_none() {
            let corrected: Vec<&Drift> = plan.drifts.iter().collect();
            drifts.note(&name(), &corrected);
        }
        wait
    }

    #[tokio::test(start_paused = true)]
    async fn what_fights_back_waits_longer_each_time() {
        let drifts = Drifts::default();
        for _ in 0..3 {
            assert_eq!(round(&drifts, DriftKind::UnitMode), None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            let wait = round(&drifts, DriftKind::UnitMode).unwrap();
            assert_eq!(wait, Duration::from_secs(seconds - 1));
            tokio::time::advance(wait).await;
            assert_eq!(round(&drifts, DriftKind::UnitMode), None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // Others go on, and after some quiet it is forgotten.
        assert_eq!(round(&drifts, DriftKind::UnitOwner), None);
        tokio::time::advance(Duration::from_secs(1300)).await;
        assert_eq!(round(&drifts, DriftKind::UnitMode), None);
        assert_eq!(round(&drifts, DriftKind::UnitMode), None);
        drifts.forget(&name());
        assert!(drifts.lock().is_empty());
    }

    /// A restart begins no new fight.
    #[tokio::test(start_paused = true)]
    async fn a_fight_goes_on_after_a_restart() {
        // The clock of the test begins now, and a saved time may be before.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let drifts = Drifts::default();
        for _ in 0..3 {
            assert_eq!(round(&drifts, DriftKind::UnitMode), None);
        }
        let all = plan(DriftKind::UnitMode).drifts;
        let fought = drifts.note(&name(), &all.iter().collect::<Vec<_>>());
        let text = serde_yaml::to_string(&fought).unwrap();
        let tenant = serde_yaml::from_str(
            "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: ky04}, \
             spec: {application: cbapp, version: v1}}",
        );
        let mut record = Record::new(tenant.unwrap(), "ky04.yaml".into());
        record.fought = serde_yaml::from_str(&text).unwrap();
        let drifts = Drifts::of([&record]);
        let wait = round(&drifts, DriftKind::UnitMode).unwrap();
        assert!(wait > Duration::from_secs(15), "{wait:?}");
        // Of long ago is over.
        record.fought[0].recent = vec![Timestamp::now() - Duration::from_secs(1500)];
        let drifts = Drifts::of([&record]);
        assert_eq!(round(&drifts, DriftKind::UnitMode), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_now_and_then_is_no_fight_and_a_crash_has_its_own_pause() {
        let drifts = Drifts::default();
        for _ in 0..5 {
            assert_eq!(round(&drifts, DriftKind::UnitMode), None);
            tokio::time::advance(Duration::from_secs(301)).await;
        }
        for _ in 0..9 {
            assert_eq!(round(&drifts, DriftKind::ServiceCrashed), None);
        }
    }

    #[test]
    fn each_difference_is_told_once() {
        let drift = |detail: &str| DriftStatus {
            kind: "UnitMode".into(),
            what: "/x".into(),
            detail: detail.into(),
            since: String::new(),
            by: None,
        };
        let status = |drift: Vec<DriftStatus>| TenantStatus {
            drift,
            ..TenantStatus::default()
        };
        let (none, one) = (status(vec![]), status(vec![drift("a")]));
        let told = events(&name(), Some(&none), &one);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].reason, told[0].note.as_str()),
            (Reason::DriftDetected, "UnitMode of /x: a")
        );
        assert_eq!(events(&name(), Some(&one), &one), []);
        assert_eq!(events(&name(), Some(&one), &none), []);
    }
}
