//! Health rounds: services that are well are asked now and then whether they
//! still are, without a pass over their tenants.
//!
//! A pass that finds a service well leaves its question and the answer here. As
//! long as the answer stays the same, a pass would find nothing new in it;
//! another answer wakes one, and that asks again itself. So on a quiet host a
//! service costs one request in its period and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::observed::Health;
use cb_core::types::TenantName;
use cb_host::Probe;
use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many services are asked at once: those that hang must not keep the
/// others waiting for long.
const AT_ONCE: usize = 32;
/// A service may be asked earlier by this part of its period: those that are
/// due soon are asked together, as waking up costs more than a question.
const EARLIER: u32 = 12;

/// Which services are asked, and when.
#[derive(Debug, Default)]
pub struct Rounds {
    asked: Mutex<BTreeMap<TenantName, Vec<Asked>>>,
    /// Something is due earlier than what was waited for.
    sooner: Notify,
}

/// A service that was well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    probe: Probe,
    answer: Health,
    period: Duration,
    due: Instant,
}

impl Asked {
    /// A service that gave this answer and is to be asked again after `period`.
    pub(super) fn new(probe: Probe, answer: Health, period: Duration) -> Self {
        let max_age = Duration::ZERO;
        Self {
            probe: Probe { max_age, ..probe },
            answer,
            period,
            due: Instant::now() + period,
        }
    }
}

impl Rounds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantName, Vec<Asked>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a pass looks at the tenant itself.
    pub(super) fn leave(&self, tenant: &TenantName) {
        self.lock().remove(tenant);
    }

    /// A pass is over; these services of the tenant were well.
    pub(super) fn enter(&self, tenant: &TenantName, services: Vec<Asked>) {
        let Some(due) = services.iter().map(|asked| asked.due).min() else {
            return;
        };
        let mut all = self.lock();
        let before = next(&all);
        all.insert(tenant.clone(), services);
        if before.is_none_or(|before| due < before) {
            self.sooner.notify_one();
        }
    }

    /// Has services asked for as long as it is polled; `wake` is called with a
    /// tenant of which a service answers otherwise than before.
    pub async fn run<A: Future<Output = Health>>(
        &self,
        ask: impl Fn(Probe) -> A,
        wake: impl Fn(TenantName),
    ) {
        loop {
            let due = next(&self.lock());
            tokio::select! {
                () = self.sooner.notified() => continue,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let (ask, wake) = (&ask, &wake);
            let one = |(tenant, asked): (TenantName, Asked)| async move {
                let answer = ask(asked.probe.clone()).await;
                if !self.is_as_before(&tenant, &asked, &answer) {
                    wake(tenant);
                }
            };
            futures::stream::iter(self.due_now())
                .for_each_concurrent(AT_ONCE, one)
                .await;
        }
    }

    /// What is due now or soon.
    fn due_now(&self) -> Vec<(TenantName, Asked)> {
        let now = Instant::now();
        let all = self.lock();
        let services = all
            .iter()
            .flat_map(|(tenant, services)| services.iter().map(move |asked| (tenant, asked)));
        services
            .filter(|(_, asked)| asked.due <= now + asked.period / EARLIER)
            .map(|(tenant, asked)| (tenant.clone(), asked.clone()))
            .collect()
    }

    /// Whether a pass would find nothing new in this answer. One that has
    /// begun meanwhile asks itself.
    fn is_as_before(&self, tenant: &TenantName, of: &Asked, answer: &Health) -> bool {
        let mut all = self.lock();
        let services = all.get_mut(tenant).into_iter().flatten();
        let Some(asked) = services.into_iter().find(|asked| *asked == of) else {
            return true;
        };
        if asked.answer == *answer {
            asked.due = Instant::now() + asked.period;
            return true;
        }
        all.remove(tenant);
        false
    }
}

fn next(all: &BTreeMap<TenantName, Vec<Asked>>) -> Option<Instant> {
    all.values().flatten().map(|asked| asked.due).min()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn asked(unit: &str, period: Duration) -> Asked {
        let probe = Probe {
            unit: unit.to_owned(),
            invocation_id: "1".into(),
            port: 1,
            path: "/".into(),
            timeout: Duration::from_secs(1),
            max_age: period,
        };
        let answer = Health {
            ok: true,
            ..Health::default()
        };
        Asked::new(probe, answer, period)
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    /// Those that go on as before are asked again, in common, and wake nobody;
    /// one that answers otherwise wakes its tenant once.
    #[tokio::test(start_paused = true)]
    async fn another_answer_wakes_a_pass_and_the_same_one_does_not() {
        let well = asked("", PERIOD).answer;
        let rounds = Arc::new(Rounds::default());
        let schema = Arc::new(Mutex::new(None));
        let (wake, mut woken) = tokio::sync::mpsc::unbounded_channel();
        let (of, told) = (Arc::clone(&rounds), Arc::clone(&schema));
        tokio::spawn(async move {
            let answer = |probe: Probe| {
                let is_b = probe.unit.starts_with('b');
                let schema_version = told.lock().unwrap().filter(|_| is_b);
                std::future::ready(Health {
                    schema_version,
                    ..well.clone()
                })
            };
            of.run(answer, |tenant| wake.send(tenant).unwrap()).await;
        });
        rounds.enter(&name("a"), vec![asked("a-api.service", PERIOD)]);
        tokio::time::sleep(Duration::from_secs(4)).await;
        rounds.enter(&name("b"), vec![asked("b-api.service", PERIOD)]);
        tokio::time::sleep(PERIOD * 10).await;
        assert!(woken.try_recv().is_err());
        let due = |tenant: &str| rounds.lock()[&name(tenant)][0].due;
        assert_eq!(due("a"), due("b"));

        *schema.lock().unwrap() = Some(9);
        assert_eq!(woken.recv().await, Some(name("b")));
        tokio::time::sleep(PERIOD * 3).await;
        assert!(woken.try_recv().is_err());
        assert!(rounds.lock().contains_key(&name("a")));
    }

    /// What a pass has begun to look at is not asked beside it.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_a_pass_overtook_is_dropped() {
        let rounds = Rounds::default();
        let before = asked("a-api.service", PERIOD);
        rounds.enter(&name("a"), vec![before.clone()]);
        rounds.leave(&name("a"));
        assert!(rounds.is_as_before(&name("a"), &before, &Health::default()));
        tokio::time::advance(PERIOD).await;
        rounds.enter(&name("a"), vec![asked("a-api.service", PERIOD)]);
        assert!(rounds.is_as_before(&name("a"), &before, &Health::default()));
        assert_eq!(rounds.lock().len(), 1);
        // A short period is due first.
        rounds.enter(&name("b"), vec![asked("b-api.service", PERIOD / 60)]);
        assert_eq!(rounds.due_now(), []);
        assert_eq!(next(&rounds.lock()), Some(Instant::now() + PERIOD / 60));
    }
}
