//! Carries rollouts out: looks at the tenants that were asked, asks the next.
//!
//! Woken by changes of tenants, by what a person says, and at the end of a
//! pause; what is done is decided from what is seen, so no event has to come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cb_core::rollout::{Aim, Came, Member, Phase, Rollout, Sight, Way, last_operation, look};
use cb_core::types::{TenantName, Version};
use cb_runtime::store::{Store, Watch};
use jiff::Timestamp;

use super::{Rollouts, now};
use crate::api::{Asked, Backend, Problem, ProblemKind, Restore, Upgrade};
use crate::state::{PublishedTenant, SaveError};

/// How long until what could not be saved is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A step of a tenant.
enum Turn {
    /// It is about to be asked: the version that it has, and the number of its
    /// last operation.
    Asking(Option<Version>, u64),
    /// It was asked.
    Asked,
    /// It is not asked after all.
    Withdrawn,
    /// It has come to rest.
    Came(Came),
}

/// What a tenant says to being asked.
enum Answer {
    /// It goes.
    Yes,
    /// Something else is under way.
    Later,
    /// There is nothing to wait for.
    Came(Came),
}

impl Rollouts {
    /// Carries the rollouts out, for as long as it is polled. Nothing is lost
    /// if that ends at any point.
    pub async fn run(self: Arc<Self>, backend: Arc<dyn Backend>, resync: Duration) {
        let tenants = backend.state().tenants().clone();
        loop {
            // From before the look, so that no change falls between.
            let mut changes = changes(&tenants);
            loop {
                let Some(wait) = self.drive_all(&*backend, resync).await else {
                    self.wake.notified().await;
                    break;
                };
                tokio::select! {
                    change = changes.next() => {
                        // Many at once are looked at once.
                        let mut more = change.map(Some);
                        while let Ok(Some(_)) = more {
                            more = changes.try_next();
                        }
                        if more.is_err() {
                            break;
                        }
                    }
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    /// Takes each rollout as far as it goes now. Returns when to look again at
    /// the latest; `None` if there is nothing to carry out.
    async fn drive_all(&self, backend: &dyn Backend, resync: Duration) -> Option<Duration> {
        let items = self.published.list().items;
        let open = items.into_iter().filter(|(_, item)| !item.value.is_over());
        let mut wait = None;
        for (number, _) in open {
            let until = match self.drive(backend, number).await {
                Ok(at) => {
                    at.map(|at| Duration::try_from(at.duration_since(now())).unwrap_or_default())
                }
                Err(error) => {
                    tracing::warn!("{}: {error}", Rollout::id_of(number));
                    Some(RETRY)
                }
            };
            let until = until.map_or(resync, |until| until.min(resync));
            wait = Some(wait.map_or(until, |wait: Duration| wait.min(until)));
        }
        wait
    }

    /// Takes a rollout as far as it goes now. Returns when its next wave is, if
    /// it waits for that.
    async fn drive(
        &self,
        backend: &dyn Backend,
        number: u64,
    ) -> Result<Option<Timestamp>, SaveError> {
        // Those that something else is under way of.
        let mut later = BTreeSet::new();
        while let Some(rollout) = self.get(number) {
            let mut turns = seen(backend, &rollout);
            if turns.is_empty() {
                turns.extend(self.ask_one(backend, &rollout, &mut later).await);
            }
            let mut went_on = !turns.is_empty();
            let changed = self.change(backend, number, |rollout| {
                for (way, tenant, turn) in turns {
                    take(rollout, way, &tenant, turn);
                }
                if !went_on {
                    went_on = rollout.advance(now());
                }
                Ok::<_, SaveError>(())
            });
            let changed = changed.await?;
            if !went_on {
                return Ok(changed.next_wave);
            }
        }
        Ok(None)
    }

    /// Asks the next tenant that is journaled as being asked. One look between
    /// two: what a person says meanwhile counts.
    async fn ask_one(
        &self,
        backend: &dyn Backend,
        rollout: &Rollout,
        later: &mut BTreeSet<TenantName>,
    ) -> Option<(Way, TenantName, Turn)> {
        let asking = rollout
            .in_flight()
            .filter(|(way, member)| rollout.asks(*way) && member.phase(*way) == Phase::Asking);
        for (way, member) in asking {
            if later.contains(&member.tenant) {
                continue;
            }
            let turn = match ask(backend, rollout, way, member).await {
                Answer::Yes => Turn::Asked,
                Answer::Came(came) => Turn::Came(came),
                Answer::Later => {
                    later.insert(member.tenant.clone());
                    continue;
                }
            };
            return Some((way, member.tenant.clone(), turn));
        }
        None
    }
}

fn changes(tenants: &Store<TenantName, PublishedTenant>) -> Watch<TenantName, PublishedTenant> {
    loop {
        if let Ok(watch) = tenants.watch_from(tenants.revision()) {
            return watch;
        }
    }
}

fn take(rollout: &mut Rollout, way: Way, tenant: &TenantName, turn: Turn) {
    match turn {
        Turn::Asking(from, since) => rollout.asking(way, tenant, from, since),
        Turn::Asked => rollout.asked(way, tenant),
        Turn::Withdrawn => rollout.withdraw(way, tenant),
        Turn::Came(came) => rollout.came(way, tenant, came),
    }
}

/// What of the tenants can be taken in without asking any: what came of those
/// that were asked, and those that are to be asked next.
fn seen(backend: &dyn Backend, rollout: &Rollout) -> Vec<(Way, TenantName, Turn)> {
    let flown = rollout.in_flight().filter_map(|(way, member)| {
        let turn = looked_at(backend, rollout, way, member)?;
        Some((way, member.tenant.clone(), turn))
    });
    let due = rollout.to_ask().map(|member| {
        let record = backend.state().record(&member.tenant);
        let deployed = record
            .as_ref()
            .and_then(|record| record.deployed.as_deref());
        let from = deployed.map(|deployed| deployed.version.clone());
        let since = record.as_ref().map_or(0, last_operation);
        let turn = Turn::Asking(from, since);
        (rollout.way(), member.tenant.clone(), turn)
    });
    flown.chain(due).collect()
}

fn looked_at(backend: &dyn Backend, rollout: &Rollout, way: Way, member: &Member) -> Option<Turn> {
    let progress = member.on(way)?;
    let aim = Aim {
        version: target(rollout, way, member)?,
        since: progress.since,
        asked: progress.phase == Phase::Asked,
    };
    let record = backend.state().record(&member.tenant);
    let status = backend.state().status(&member.tenant);
    let sight = look(aim, record.as_ref(), status.as_deref());
    match sight {
        Sight::Untouched if !rollout.asks(way) => Some(Turn::Withdrawn),
        Sight::Untouched => None,
        Sight::UnderWay => (!aim.asked).then_some(Turn::Asked),
        Sight::Done { backup } => Some(Turn::Came(Came::Done { backup })),
        Sight::Failed {
            reason,
            message,
            reached,
        } => Some(Turn::Came(Came::Failed {
            reason,
            message,
            reached,
        })),
        Sight::Out { reason, message } => Some(Turn::Came(skipped(reason, message))),
    }
}

fn target<'a>(rollout: &'a Rollout, way: Way, member: &'a Member) -> Option<&'a Version> {
    match way {
        Way::There => Some(&rollout.spec.target_version),
        Way::Back => member.from.as_ref(),
    }
}

fn skipped(reason: &str, message: String) -> Came {
    Came::Skipped {
        reason: reason.to_owned(),
        message,
    }
}

/// Asks a tenant, as a person would.
async fn ask(backend: &dyn Backend, rollout: &Rollout, way: Way, member: &Member) -> Answer {
    let answer = match way {
        Way::There => ask_there(backend, rollout, member).await,
        Way::Back => match ask_back(backend, rollout, member).await {
            Ok(answer) => answer,
            Err(left) => return Answer::Came(skipped("Superseded", left)),
        },
    };
    match answer {
        Ok(Asked::NotNeeded(message)) => Answer::Came(skipped("AlreadyAtVersion", message)),
        Ok(Asked::Begun(_) | Asked::Pending) => Answer::Yes,
        Err(problem) => match problem.kind {
            ProblemKind::OperationUnderWay => Answer::Later,
            ProblemKind::AlreadyAtVersion => {
                Answer::Came(skipped("AlreadyAtVersion", problem.detail))
            }
            ProblemKind::NotFound => Answer::Came(skipped("Deleted", problem.detail)),
            kind => Answer::Came(Came::Failed {
                reason: kind.facts().1.to_owned(),
                message: problem.detail,
                reached: None,
            }),
        },
    }
}

async fn ask_there(
    backend: &dyn Backend,
    rollout: &Rollout,
    member: &Member,
) -> Result<Asked, Problem> {
    let spec = &rollout.spec;
    let wish = Upgrade {
        target: spec.target_version.clone(),
        backup: spec.backup_db,
        migrate: spec.run_migrations,
        restore: None,
    };
    match backend.upgrade(&member.tenant, wish).await {
        Err(problem) if problem.kind == ProblemKind::OperationHalted && member.there.retried => {
            backend.retry(&member.tenant).await
        }
        answer => answer,
    }
}

/// A tenant that has another version by now is left alone: `Err` says so.
async fn ask_back(
    backend: &dyn Backend,
    rollout: &Rollout,
    member: &Member,
) -> Result<Result<Asked, Problem>, String> {
    let record = backend.state().record(&member.tenant);
    let deployed = record.and_then(|record| record.deployed);
    let runs = deployed.map(|deployed| deployed.version);
    let (Some(runs), Some(from)) = (runs, member.from.clone()) else {
        return Err("the version that it had is not known".into());
    };
    if runs != rollout.spec.target_version {
        return Err(format!("it has {runs} by now"));
    }
    Ok(match member.backup.clone() {
        Some(backup) => {
            let version = Some(from);
            let wish = Restore { backup, version };
            backend.restore(&member.tenant, wish).await
        }
        // There was no database, or it was not migrated. One that the version
        // before cannot have is refused by its preflight.
        None => {
            let wish = Upgrade {
                target: from,
                backup: true,
                migrate: true,
                restore: None,
            };
            backend.upgrade(&member.tenant, wish).await
        }
    })
}
