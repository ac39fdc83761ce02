//! Whether a tenant's services work: what systemd says, how long they have run,
//! and what they answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::desired::{Desired, DesiredService};
use cb_core::observed::{Health, Observed, UnitState};
use cb_core::plan::{Action, Plan};
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_core::types::{ObjectName, TenantName};
use cb_host::{Host, Probe};
use tokio::time::Instant;

use super::rounds::Asked;

/// How long a service without a health check must run before it counts as
/// ready: one that exits at once would be ready for a moment otherwise.
const SETTLE: Duration = Duration::from_secs(2);
/// How soon a service that starts is looked at again, at first and at most.
const RECHECK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How soon a service that should work but does not is asked again.
const RECHECK_UNHEALTHY: Duration = Duration::from_secs(5);

/// How long a service that failed after it was started for failing waits for
/// its next start, the first time and at most; doubled each time.
const START_BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// How many short runs in a row are a crash loop.
const CRASH_LOOP: u32 = 3;
/// How long a service has to run for its failures to be forgotten.
const FORGIVE: Duration = Duration::from_secs(60);

/// Remembers since when each unit's current run was seen, and how often a unit
/// had to be started because it had failed.
#[derive(Debug, Default)]
pub struct Readiness {
    units: Mutex<Units>,
}

/// By tenant and name of the unit: `a-b-api.service` may be of `a` or of `a-b`.
type Units = BTreeMap<(TenantName, String), Unit>;

#[derive(Debug)]
struct Unit {
    /// The run that was seen last and since when.
    invocation: String,
    since: Instant,
    /// How many runs in a row were short, this one included.
    short_runs: u32,
    /// How many runs followed another one.
    restarts: u64,
    failures: Option<Failures>,
}

/// What was found out about a tenant's services.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub health: BTreeMap<ObjectName, Health>,
    pub problems: Vec<Problem>,
    /// When to look again; nothing if only the services that are well are to
    /// be asked again.
    pub again: Option<Duration>,
    /// The services that are well.
    pub well: Vec<Asked>,
}

impl Verdict {
    fn again(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |again| again.min(after)));
    }
}

impl Readiness {
    /// Forgets a tenant that is gone.
    pub(super) fn forget(&self, tenant: &TenantName) {
        self.lock().retain(|(of, _), _| of != tenant);
    }

    /// How many runs of each unit followed another one, by tenant and unit.
    pub(crate) fn restarts(&self) -> Vec<([String; 2], u64)> {
        let units = self.lock();
        let row = |((tenant, unit), seen): (&(TenantName, String), &Unit)| {
            ([tenant.to_string(), unit.clone()], seen.restarts)
        };
        units.iter().map(row).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Units> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the units that run although this operator has not started them: it
    /// was restarted itself, and they have not started just now.
    pub(super) fn note_running(&self, tenant: &TenantName, observed: &Observed) {
        let now = Instant::now();
        let settled = now.checked_sub(SETTLE).unwrap_or(now);
        let mut units = self.lock();
        for (unit, state) in observed.units.iter().filter(|(_, unit)| unit.is_active()) {
            let invocation = state.invocation_id.as_deref().unwrap_or_default();
            units
                .entry((tenant.clone(), unit.clone()))
                .or_insert_with(|| Unit::seen(invocation, settled));
        }
    }

    /// Notes in what was seen which failed units must wait. A new revision
    /// need not.
    pub(super) fn mark_backing_off(&self, desired: &Desired, observed: &mut Observed) {
        let now = Instant::now();
        let units = self.lock();
        for service in &desired.services {
            let known = units
                .get(&(desired.tenant.clone(), service.unit.clone()))
                .and_then(|unit| unit.failures.as_ref());
            if let Some(failures) = known
                && failures.revision == service.revision
                && failures.until > now
            {
                // Without the time that is left: the message would change all
                // the time (law 8).
                let (count, wait) = (failures.count, failures.wait.as_secs());
                let word = format!(
                    "it was started {count} times for that and waits {wait} s after the last"
                );
                observed.backing_off.insert(service.unit.clone(), word);
            }
        }
    }

    /// Notes in what was seen which units have run for so long that they must
    /// listen on their ports.
    pub(super) fn mark_settled(&self, desired: &Desired, observed: &mut Observed) {
        for service in &desired.services {
            let state = observed.units.get(&service.unit);
            let Some(state) = state.filter(|state| state.is_active()) else {
                continue;
            };
            let check = service.health_check.as_ref();
            let within = check.map_or(FORGIVE, |check| {
                Duration::from_secs(check.start_timeout_seconds.into())
            });
            let invocation = state.invocation_id.as_deref().unwrap_or_default();
            if self.age((&desired.tenant, &service.unit), invocation) >= within {
                observed.settled.insert(service.unit.clone());
            }
        }
    }

    /// Notes the failed units that are about to be started.
    pub(super) fn note_starts(&self, tenant: &TenantName, plan: &Plan) {
        let now = Instant::now();
        let mut units = self.lock();
        for step in plan.to_execute() {
            let Action::Start {
                unit,
                revision,
                reset: true,
                ..
            } = &step.action
            else {
                continue;
            };
            let entry = units
                .entry((tenant.clone(), unit.clone()))
                .or_insert_with(|| Unit::seen("", now));
            let count = match &entry.failures {
                Some(known) if known.revision == *revision => known.count + 1,
                _ => 1,
            };
            let wait = START_BACKOFF.0 * 2u32.saturating_pow((count - 1).min(10));
            let wait = wait.min(START_BACKOFF.1);
            let revision = revision.clone();
            entry.failures = Some(Failures {
                revision,
                count,
                wait,
                until: now + wait,
            });
        }
    }

    /// Asks the services. A success that is not older than their period, nor
    /// than `max_age`, is good enough.
    pub(super) async fn judge(
        &self,
        host: &impl Host,
        desired: &Desired,
        observed: &Observed,
        max_age: Duration,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for service in &desired.services {
            let state = observed
                .units
                .get(&service.unit)
                .cloned()
                .unwrap_or_default();
            if !state.is_active() {
                let last = state.invocation_id.as_deref().unwrap_or_default();
                let runs = self.short_runs((&desired.tenant, &service.unit), last);
                verdict.problems.push(not_running(service, &state, runs));
                verdict.again(RECHECK_UNHEALTHY);
                continue;
            }
            let invocation = state.invocation_id.unwrap_or_default();
            let of = (&desired.tenant, service.unit.as_str());
            let age = self.age(of, &invocation);
            if let Some(left) = self.until_forgiven(of, age) {
                verdict.again(left);
            }
            match &service.health_check {
                None if age < SETTLE => {
                    let message = format!("{} was started just now", service.unit);
                    verdict.problems.push(Problem::passing(
                        Facet::Services,
                        ProblemReason::Starting,
                        message,
                    ));
                    verdict.again(SETTLE.saturating_sub(age));
                }
                None => {}
                Some(check) => {
                    let period = Duration::from_secs(check.period_seconds.into());
                    let probe = Probe {
                        unit: service.unit.clone(),
                        invocation_id: invocation,
                        port: service.port,
                        path: check.path.to_string(),
                        timeout: Duration::from_secs(check.timeout_seconds.into()),
                        max_age: period.min(max_age),
                    };
                    let health = host.probe(&probe).await;
                    let error = health
                        .error
                        .clone()
                        .unwrap_or_else(|| "it gave no answer".into());
                    let message = format!(
                        "{}: GET {} on port {}: {error}",
                        service.unit, check.path, service.port
                    );
                    let starting = age < Duration::from_secs(check.start_timeout_seconds.into());
                    if health.ok {
                        let asked = Asked::new(probe, health.clone(), period);
                        verdict.well.push(asked);
                    } else if starting {
                        verdict.problems.push(Problem::passing(
                            Facet::Services,
                            ProblemReason::Starting,
                            message,
                        ));
                        verdict.again((age / 4).clamp(RECHECK.0, RECHECK.1));
                    } else {
                        verdict.problems.push(Problem::new(
                            Facet::Services,
                            ProblemReason::Unhealthy,
                            message,
                        ));
                        verdict.again(RECHECK_UNHEALTHY.min(period));
                    }
                    verdict.health.insert(service.name.clone(), health);
                }
            }
        }
        verdict
    }

    /// How many runs of the unit in a row were short, this one included.
    fn short_runs(&self, of: (&TenantName, &str), invocation: &str) -> u32 {
        self.seen_now(of, invocation, |unit, _| unit.short_runs)
    }

    /// How long this run of the unit has been seen.
    fn age(&self, of: (&TenantName, &str), invocation: &str) -> Duration {
        self.seen_now(of, invocation, |unit, now| {
            let age = now - unit.since;
            if age >= FORGIVE {
                unit.failures = None;
            }
            age
        })
    }

    /// How long until a run of this age makes up for the failures before it;
    /// nothing if there were none.
    fn until_forgiven(
        &self,
        (tenant, name): (&TenantName, &str),
        age: Duration,
    ) -> Option<Duration> {
        let units = self.lock();
        let unit = units.get(&(tenant.clone(), name.to_owned()))?;
        unit.failures.as_ref().map(|_| FORGIVE.saturating_sub(age))
    }

    /// Takes note of the run of a unit that is seen now, and looks at it.
    fn seen_now<T>(
        &self,
        (tenant, name): (&TenantName, &str),
        invocation: &str,
        look: impl FnOnce(&mut Unit, Instant) -> T,
    ) -> T {
        let now = Instant::now();
        let mut units = self.lock();
        let unit = units
            .entry((tenant.clone(), name.to_owned()))
            .or_insert_with(|| Unit::seen(invocation, now));
        unit.see(invocation, now);
        look(unit, now)
    }
}

#[derive(Debug)]
struct Failures {
    /// With which revision it failed.
    revision: String,
    /// How often in a row it was started for that.
    count: u32,
    /// How long it waits after the last start, and until when.
    wait: Duration,
    until: Instant,
}

impl Unit {
    fn seen(invocation: &str, since: Instant) -> Self {
        Self {
            invocation: invocation.to_owned(),
            since,
            short_runs: 1,
            restarts: 0,
            failures: None,
        }
    }

    /// Takes note of the run that is seen now.
    fn see(&mut self, invocation: &str, now: Instant) {
        if self.invocation == invocation {
            return;
        }
        let short = now - self.since < FORGIVE;
        let again = !self.invocation.is_empty() && !invocation.is_empty();
        *self = Self {
            short_runs: if short { self.short_runs + 1 } else { 1 },
            restarts: self.restarts + u64::from(again),
            failures: self.failures.take(),
            ..Self::seen(invocation, now)
        };
    }
}

fn not_running(service: &DesiredService, state: &UnitState, short_runs: u32) -> Problem {
    let unit = &service.unit;
    let see = format!("see `journalctl -u {unit}`");
    let known = |text: &str, default| {
        if text.is_empty() {
            default
        } else {
            text.to_owned()
        }
    };
    let active = known(&state.active_state, "inactive".to_owned());
    let sub = known(&state.sub_state, "dead".to_owned());
    match (active.as_str(), sub.as_str()) {
        ("activating", "auto-restart" | "auto-restart-queued") if short_runs < CRASH_LOOP => {
            let message = format!("{unit} has ended and is started again; {see}");
            Problem::passing(Facet::Services, ProblemReason::Restarting, message)
        }
        ("activating", "auto-restart" | "auto-restart-queued") => {
            let message = format!("{unit} exits again and again; {see}");
            Problem::new(Facet::Services, ProblemReason::CrashLoop, message)
        }
        ("activating", _) => Problem::passing(
            Facet::Services,
            ProblemReason::Starting,
            format!("{unit} is {active} ({sub})"),
        ),
        ("failed", _) => Problem::new(
            Facet::Services,
            ProblemReason::Failed,
            format!("{unit} has failed; {see}"),
        ),
        _ => Problem::new(
            Facet::Services,
            ProblemReason::NotRunning,
            format!("{unit} is {active} ({sub})"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 4: what is known of `a-b` outlives `a`, although its units begin
    /// with `a-` too.
    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_is_gone_takes_nothing_of_anothers() {
        let readiness = Readiness::default();
        let name = |name: &str| name.parse::<TenantName>().unwrap();
        let (gone, stays) = (name("a"), name("a-b"));
        let age = |tenant, unit| readiness.age((tenant, unit), "run");
        age(&gone, "a-api.service");
        age(&stays, "a-b-api.service");
        tokio::time::advance(Duration::from_secs(5)).await;
        readiness.forget(&gone);
        assert_eq!(age(&gone, "a-api.service"), Duration::ZERO);
        assert_eq!(age(&stays, "a-b-api.service"), Duration::from_secs(5));
    }

    /// Law 8: one crash is no crash loop, and what ran before the operator did
    /// has not started just now.
    #[tokio::test(start_paused = true)]
    async fn runs_are_told_apart() {
        let readiness = Readiness::default();
        let name: TenantName = "a".parse().unwrap();
        let unit = (&name, "a-api.service");
        let mut observed = Observed::default();
        let state = UnitState {
            active_state: "active".into(),
            invocation_id: Some("0".into()),
            ..UnitState::default()
        };
        observed.units.insert("a-api.service".into(), state);
        readiness.note_running(&name, &observed);
        assert!(readiness.age(unit, "0") >= SETTLE);
        tokio::time::advance(FORGIVE).await;
        assert_eq!(readiness.short_runs(unit, "1"), 1);
        assert_eq!(readiness.short_runs(unit, "1"), 1);
        assert_eq!(readiness.short_runs(unit, "2"), 2);
        assert_eq!(readiness.short_runs(unit, "3"), 3);
        tokio::time::advance(FORGIVE).await;
        assert_eq!(readiness.short_runs(unit, "4"), 1);
        // Stopped and started by a person is no restart.
        readiness.short_runs(unit, "");
        readiness.short_runs(unit, "5");
        let row = ["a", "a-api.service"].map(str::to_owned);
        assert_eq!(readiness.restarts(), [(row, 4)]);
    }
}
