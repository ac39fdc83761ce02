//! Whether the services answer with the version that they should.

use std::collections::BTreeMap;
use std::time::Duration;

use cb_core::desired::Desired;
use cb_core::observed::Observed;
use cb_core::operation::{Failure, Operation};
use cb_core::secret::Opened;
use cb_core::status::Problem;
use cb_core::types::Version;
use cb_host::Host;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Left;
use super::phases::Secrets;
use crate::tenant::Engine;
use crate::tenant::problem::unreachable;
use crate::tenant::readiness::Verdict;

/// How often a service that answers is asked while it settles.
const ASK: Duration = Duration::from_millis(250);

/// What the services' answers must say of the version.
#[derive(Debug, Clone, Copy)]
pub(super) enum Says<'a> {
    /// That it is this one (law 6).
    This(&'a Version),
    /// Any but this one, which was left.
    AnyBut(&'a Version),
    /// Anything, or nothing: what runs is what ran before.
    Any,
}

/// What is required of the services.
pub(super) struct Requirement<'a> {
    pub desired: &'a Desired,
    pub scope: &'a cb_core::observed::Scope,
    pub says: Says<'a>,
    /// For how long they must answer without a fault.
    pub settle: Duration,
    /// Whether any new run of a service is a failure: it has exited.
    pub strict: bool,
}

impl<H: Host> Engine<H> {
    /// Waits until the services are healthy with the release's version, for
    /// the settling time.
    pub(super) async fn require(
        &self,
        operation: &Operation,
        of: Requirement<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), Left> {
        let deadline = Instant::now() + start_timeout(of.desired);
        let mut good_since: Option<Instant> = None;
        let mut runs: Option<BTreeMap<String, String>> = None;
        loop {
            let seen = self.host.observe(of.scope).await;
            let observed = seen.map_err(|e| Left::Blocked(unreachable(e)))?;
            let now_running = invocations(of.desired, &observed);
            let before = runs.get_or_insert_with(|| now_running.clone());
            if of.strict && *before != now_running {
                let unit = changed(before, &now_running);
                let failure = self
                    .service_failure(
                        operation,
                        (&unit, before.get(&unit).map(String::as_str)),
                        "ServiceExited",
                        None,
                        &observed,
                    )
                    .await;
                return Err(Left::Failed(failure));
            }
            let verdict = self
                .readiness
                .judge(&*self.host, of.desired, &observed, ASK / 2)
                .await;
            match wrong_version(of.desired, of.says, &verdict) {
                Some((reason, message)) => {
                    let failure = self.failure(operation, reason, message);
                    return Err(Left::Failed(failure));
                }
                None if verdict.problems.is_empty() => {
                    let since = *good_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= of.settle {
                        return Ok(());
                    }
                }
                None => {
                    // Healthy once and then not is no settling.
                    let settled_badly = of.strict && good_since.take().is_some();
                    if settled_badly || Instant::now() >= deadline {
                        let failure = self.unhealthy(operation, &of, &verdict, &observed).await;
                        return Err(Left::Failed(failure));
                    }
                }
            }
            let wait = match good_since {
                Some(since) => ASK.min(of.settle.saturating_sub(since.elapsed())),
                None => verdict.again.unwrap_or(ASK).min(ASK),
            };
            tokio::select! {
                () = tokio::time::sleep(wait.max(Duration::from_millis(20))) => {}
                () = cancel.cancelled() => return Err(Left::Interrupted),
            }
        }
    }

    async fn unhealthy(
        &self,
        operation: &Operation,
        of: &Requirement<'_>,
        verdict: &Verdict,
        observed: &Observed,
    ) -> Failure {
        let first = verdict.problems.iter().find(|p| !p.passing);
        let first = first.or(verdict.problems.first());
        let message = first.map_or_else(String::new, |p: &Problem| p.message.clone());
        let bad = of.desired.services.iter().find(|service| {
            let health = verdict.health.get(&service.name);
            health.is_none_or(|health| !health.ok)
        });
        let unit = bad.map_or("", |service| &service.unit);
        let run = observed.units.get(unit);
        let run = run.and_then(|state| state.invocation_id.as_deref());
        self.service_failure(operation, (unit, run), "Unhealthy", Some(message), observed)
            .await
    }

    /// A failure of a run of a service, with the last lines of its log. Without
    /// the run's InvocationID it is the unit's last run.
    pub(super) async fn service_failure(
        &self,
        operation: &Operation,
        (unit, run): (&str, Option<&str>),
        reason: &'static str,
        message: Option<String>,
        observed: &Observed,
    ) -> Failure {
        let message = message.unwrap_or_else(|| format!("{unit} has exited"));
        let mut failure = self.failure(operation, reason, message);
        let log = self.host.log_tail(unit, run).await;
        failure.log = log
            .into_iter()
            .map(|line| without_secrets(line, &observed.secrets))
            .collect();
        failure
    }
}

/// Law 11: what a service prints may hold what it was given.
pub(super) fn without_secrets(mut line: String, secrets: &Secrets) -> String {
    // What is printed is cut into lines.
    for part in secrets.values().flatten().flat_map(Opened::lines) {
        line = line.replace(part, "(secret)");
    }
    line
}

/// How long the slowest service may take to answer.
fn start_timeout(desired: &Desired) -> Duration {
    let checks = desired
        .services
        .iter()
        .filter_map(|s| s.health_check.as_ref());
    let seconds = checks.map(|check| check.start_timeout_seconds).max();
    // A service without a check only has to run for a moment.
    Duration::from_secs(seconds.unwrap_or(30).into())
}

fn invocations(desired: &Desired, observed: &Observed) -> BTreeMap<String, String> {
    let of = |unit: &String| {
        let state = observed.units.get(unit)?;
        Some((unit.clone(), state.invocation_id.clone()?))
    };
    desired
        .services
        .iter()
        .filter_map(|s| of(&s.unit))
        .collect()
}

fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let units = before.keys().chain(now.keys());
    let mut changed = units.filter(|unit| before.get(*unit) != now.get(*unit));
    changed.next().cloned().unwrap_or_default()
}

/// Law 6: the version must be in the answer. A service that does not tell one
/// leaves it to the others; if none tells one, that is a failure too.
fn wrong_version(
    desired: &Desired,
    says: Says<'_>,
    verdict: &Verdict,
) -> Option<(&'static str, String)> {
    let healthy = verdict.health.iter().filter(|(_, health)| health.ok);
    let mut told = healthy
        .filter_map(|(service, health)| Some((service, health.version.as_deref()?)))
        .peekable();
    let wanted = match says {
        Says::Any => return None,
        Says::AnyBut(left) => {
            let (service, _) = told.find(|(_, version)| *version == left.as_str())?;
            let message = format!("service {service} still answers with version {left}");
            return Some(("WrongVersion", message));
        }
        Says::This(wanted) => wanted.as_str(),
    };
    let silent = told.peek().is_none();
    if let Some((service, version)) = told.find(|(_, version)| *version != wanted) {
        let message =
            format!("service {service} answers with version {version} instead of {wanted}");
        return Some(("WrongVersion", message));
    }
    let asked = desired.services.iter().any(|s| s.health_check.is_some());
    (asked && silent && verdict.problems.is_empty()).then(|| {
        let message = format!("no service says in its health answer that it is version {wanted}: an answer needs `\"version\": \"{wanted}\"`");
        ("NoVersionInAnswer", message)
    })
}
