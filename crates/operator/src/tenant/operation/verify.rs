//! Whether the services answer with the version that they should.

use std::collections::BTreeMap;
use std::time::Duration;

use cb_core::desired::Desired;
use cb_core::observed::Observed;
use cb_core::operation::{Failure, Operation};
use cb_core::status::Problem;
use cb_host::Host;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Left;
use crate::tenant::Engine;
use crate::tenant::readiness::Verdict;

/// How often a service that answers is asked while it settles.
const ASK: Duration = Duration::from_millis(250);

/// What is required of the services.
pub(super) struct Requirement<'a> {
    pub desired: &'a Desired,
    pub scope: &'a cb_core::observed::Scope,
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
            let observed = seen.map_err(|e| Left::Blocked(super::super::unreachable(e)))?;
            let now_running = invocations(of.desired, &observed);
            let before = runs.get_or_insert_with(|| now_running.clone());
            if of.strict && *before != now_running {
                let unit = changed(before, &now_running);
                let failure = self
                    .service_failure(operation, &unit, "ServiceExited", None, &observed)
                    .await;
                return Err(Left::Failed(failure));
            }
            let verdict = self
                .readiness
                .judge(&*self.host, of.desired, &observed, ASK / 2)
                .await;
            match wrong_version(of.desired, &verdict) {
                Some(message) => {
                    let failure = self.failure(operation, "WrongVersion", message);
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
        self.service_failure(operation, unit, "Unhealthy", Some(message), observed)
            .await
    }

    /// A failure of a service, with the last lines of its log.
    pub(super) async fn service_failure(
        &self,
        operation: &Operation,
        unit: &str,
        reason: &'static str,
        message: Option<String>,
        observed: &Observed,
    ) -> Failure {
        let message = message.unwrap_or_else(|| format!("{unit} has exited"));
        let mut failure = self.failure(operation, reason, message);
        let log = self.host.log_tail(unit).await;
        failure.log = log
            .into_iter()
            .map(|line| without_secrets(line, observed))
            .collect();
        failure
    }
}

/// Law 11: what a service prints may hold what it was given.
fn without_secrets(mut line: String, observed: &Observed) -> String {
    for secret in observed.secrets.values().flatten() {
        let value = secret.reveal();
        if !value.is_empty() {
            line = line.replace(value, "(secret)");
        }
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
fn wrong_version(desired: &Desired, verdict: &Verdict) -> Option<String> {
    let wanted = desired.release.version.as_str();
    let healthy = verdict.health.iter().filter(|(_, health)| health.ok);
    let told: Vec<_> = healthy
        .filter_map(|(service, health)| Some((service, health.version.as_deref()?)))
        .collect();
    if let Some((service, version)) = told.iter().find(|(_, version)| *version != wanted) {
        return Some(format!(
            "service {service} answers with version {version} instead of {wanted}"
        ));
    }
    let asked = desired.services.iter().any(|s| s.health_check.is_some());
    (asked && told.is_empty() && verdict.problems.is_empty())
        .then(|| format!("no service says in its health answer that it is version {wanted}: an answer needs `\"version\": \"{wanted}\"`"))
}
