//! Following an operation of a tenant: each phase as it ends, then the outcome.
//!
//! The tenant is watched, so a phase is told when it ends. An operator that is
//! restarted meanwhile is no failure: its operation goes on, and so does this.

use std::time::Duration;

use cb_core::api::{Kind, OperationStatus, PhaseStatus};
use cb_core::types::shown;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::wait;
use crate::cli::Context;
use crate::client::Error;
use crate::client::operations::Accepted;
use crate::error::CommandError;
use crate::object::{Object, full_name};
use crate::output::{Colour, one_line};
use crate::resource;

/// How long to wait before the operator is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the time of a phase is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// The arguments of commands that follow what they ask for.
#[derive(Debug, clap::Args)]
pub(crate) struct Waiting {
    /// Follow it to its end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true,
          default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    wait: bool,
    /// Only ask for it
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// How long to follow it, for example 90s or 30m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = wait::duration)]
    timeout: Duration,
}

impl Waiting {
    /// Whether it is followed.
    pub(super) fn is_on(&self) -> bool {
        self.wait && !self.no_wait
    }
}

/// The name of a tenant from the command line: `ky04` or `tenant/ky04`.
pub(super) fn tenant(word: &str) -> Result<String, CommandError> {
    if !word.contains('/') {
        return Ok(word.to_owned());
    }
    let wanted = resource::parse(&[word.to_owned()])?;
    let name = match wanted.as_slice() {
        [one] if one.kind == Kind::Tenant => one.names.as_ref().and_then(|names| names.first()),
        _ => None,
    };
    name.cloned()
        .ok_or_else(|| CommandError::usage(format!("`{}` is not a tenant", shown(word))))
}

/// The operation that there was before something was asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Before {
    id: String,
    phases: Vec<Value>,
}

impl Before {
    /// Asks the operator.
    pub(super) async fn of(context: &Context, tenant: &str) -> Result<Self, CommandError> {
        let operation = context.client.operation(tenant).await?;
        Ok(serde_json::from_value(operation).unwrap_or_default())
    }
}

/// Which operation is followed.
#[derive(Debug)]
pub(super) struct Following<'a> {
    pub(super) tenant: &'a str,
    /// `Upgrade`, `Backup` or `Restore`; `None` for any.
    pub(super) kind: Option<&'static str>,
    pub(super) before: Before,
    /// The operation, if it has begun.
    id: Option<String>,
}

impl<'a> Following<'a> {
    pub(super) fn new(
        tenant: &'a str,
        kind: Option<&'static str>,
        before: Before,
        accepted: &Accepted,
    ) -> Self {
        let id = accepted.operation.clone();
        Self {
            tenant,
            kind,
            before,
            id: id.filter(|id| id != "pending"),
        }
    }

    /// Whether it is the one: another than before, or the same one gone on.
    fn is_it(&self, operation: &OperationStatus) -> bool {
        let known = self.id.as_ref();
        let same = self.before.id == operation.id;
        let went_on = operation.phases.len() > self.before.phases.len();
        known.is_none_or(|id| *id == operation.id)
            && self.kind.is_none_or(|kind| kind == operation.kind)
            && (!same || (known.is_some() && went_on))
    }

    /// Follows it to its end. On the way each phase is a line, unless `quiet`.
    pub(super) async fn to_its_end(
        &self,
        context: &Context,
        waiting: &Waiting,
        quiet: bool,
    ) -> Result<OperationStatus, CommandError> {
        let mut shown = Shown {
            context,
            quiet,
            lines: self.phases_told(),
            since: Instant::now(),
        };
        let end = async {
            loop {
                match self.watched(context, &mut shown).await {
                    Ok(Some(operation)) => return Ok(operation),
                    // It is being restarted, or the watch has had its time.
                    Ok(None) => {}
                    Err(error) if error.is_final() => {}
                    Err(error) => return Err(error.into()),
                }
                shown.waits("waiting for the operator to answer");
                tokio::time::sleep(PAUSE).await;
            }
        };
        let late = |_| {
            let message = format!(
                "timed out waiting for the operation on {}; it goes on",
                full_name(Kind::Tenant, self.tenant)
            );
            let hint = format!("cbctl describe tenant {} shows how far it is", self.tenant);
            CommandError::failed(message).hint(hint)
        };
        tokio::time::timeout(waiting.timeout, end)
            .await
            .map_err(late)?
    }

    /// How many phases were over before it went on.
    fn phases_told(&self) -> usize {
        match &self.id {
            Some(id) if *id == self.before.id => self.before.phases.len(),
            _ => 0,
        }
    }

    async fn watched(
        &self,
        context: &Context,
        shown: &mut Shown<'_>,
    ) -> Result<Option<OperationStatus>, Error> {
        // A tenant that is gone would never be seen.
        context.client.get(Kind::Tenant, self.tenant).await?;
        let mut watch = context.client.watch(self.tenant).await?;
        let mut tick = tokio::time::interval(TICK);
        let mut latest = None;
        loop {
            let event = tokio::select! {
                event = watch.next() => event?,
                _ = tick.tick() => {
                    shown.under_way(latest.as_ref());
                    continue;
                }
            };
            let Some(mut event) = event else {
                return Ok(None);
            };
            if event["type"] == "DELETED" || event["type"] == "ERROR" {
                return Ok(None);
            }
            let status = Object::new(event["object"].take()).tenant_status();
            let operation = status.operation.filter(|operation| self.is_it(operation));
            let Some(operation) = operation else { continue };
            shown.phases(&operation);
            if is_over(&operation) {
                return Ok(Some(operation));
            }
            let doing = status.conditions.into_iter().find(|condition| {
                condition.kind == "Reconciling" && condition.status.as_str() == "True"
            });
            latest = Some((operation, doing.map(|condition| condition.message)));
            shown.under_way(latest.as_ref());
        }
    }
}

fn is_over(operation: &OperationStatus) -> bool {
    ["Succeeded", "Failed", "Halted"].contains(&operation.state.as_str())
}

/// What was told so far.
struct Shown<'a> {
    context: &'a Context,
    quiet: bool,
    /// How many phases have their line.
    lines: usize,
    /// Since when the present phase is under way here.
    since: Instant,
}

impl Shown<'_> {
    /// A line for each phase that ended since.
    fn phases(&mut self, operation: &OperationStatus) {
        let ended = operation.phases.iter().take_while(|p| p.ended.is_some());
        let ended: Vec<&PhaseStatus> = ended.collect();
        for phase in ended.iter().skip(self.lines) {
            let ui = &self.context.ui;
            let (word, colour) = match phase.result.as_deref() {
                Some("Failed") => ("failed", Colour::Red),
                _ => ("done", Colour::Green),
            };
            let word = ui.paint(colour, word);
            let name = one_line(&phase.name);
            if !self.quiet {
                ui.line(&format!("  {name:14} {word} {}", duration(phase)));
            }
        }
        if ended.len() > self.lines {
            self.since = Instant::now();
            self.lines = ended.len();
        }
    }

    /// On a terminal: the phase that is under way, since when, and how far.
    fn under_way(&self, latest: Option<&(OperationStatus, Option<String>)>) {
        let Some((operation, doing)) = latest else {
            return self.waits("waiting for the operation to begin");
        };
        let Some(phase) = operation.phases.last().filter(|p| p.ended.is_none()) else {
            return;
        };
        let seconds = self.since.elapsed().as_secs();
        let doing = doing.as_deref().map_or_else(String::new, one_line);
        let text = format!("  {:14} {seconds}s {doing}", one_line(&phase.name));
        self.context.ui.progress(&text);
    }

    fn waits(&self, what: &str) {
        self.context.ui.progress(&format!("{what} …"));
    }
}

/// How long a phase took, from the operator's times, which are whole seconds.
pub(super) fn duration(phase: &PhaseStatus) -> String {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let ended = phase.ended.as_deref().and_then(time);
    match (time(&phase.started), ended) {
        (Some(started), Some(ended)) => {
            let seconds = (ended.as_second() - started.as_second()).max(0);
            match seconds {
                0..120 => format!("{seconds}s"),
                _ => format!("{}m{}s", seconds / 60, seconds % 60),
            }
        }
        _ => String::new(),
    }
}

/// Says why an operation did not succeed: what the failed step wrote, then the
/// reason, then what can be done.
pub(super) fn failed(
    context: &Context,
    tenant: &str,
    what: &str,
    operation: &OperationStatus,
) -> CommandError {
    if !operation.log.is_empty() {
        context.ui.note("the last lines of what failed:");
        for line in &operation.log {
            context.ui.note(&format!("  {}", one_line(line)));
        }
    }
    let reason = operation.reason.as_deref().unwrap_or("Unknown");
    let message = operation.message.as_deref().unwrap_or_default();
    let error = CommandError::failed(format!(
        "{} was not {what} ({}): {}",
        full_name(Kind::Tenant, tenant),
        one_line(reason),
        one_line(message)
    ));
    let halted = operation.state == "Halted";
    match (halted, operation.kind.as_str(), &operation.from_version) {
        (true, ..) => error.hint(format!(
            "it is halted: `cbctl upgrade retry {tenant}` has it go on, `cbctl restore {tenant} BACKUP` restores a backup"
        )),
        (false, "Upgrade", Some(from)) => error.hint(format!(
            "the tenant has {} as before; `cbctl upgrade retry {tenant}` tries it again",
            one_line(from)
        )),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation(id: &str, kind: &str, phases: usize) -> OperationStatus {
        let phase = json!({"name": "Preparing", "started": "2026-01-01T00:00:00Z"});
        let status = json!({
            "id": id, "kind": kind, "state": "Running", "toVersion": "v2",
            "phases": vec![phase; phases], "started": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(status).unwrap()
    }

    fn following(id: &str, kind: Option<&'static str>) -> Following<'static> {
        let answer = json!({"operation": id, "message": null});
        let before = json!({"id": "upgrade-3", "phases": [1, 2, 3]});
        Following::new(
            "ky04",
            kind,
            serde_json::from_value(before).unwrap(),
            &serde_json::from_value(answer).unwrap(),
        )
    }

    /// Law 8: what was before is not taken for what was asked for.
    #[test]
    fn the_operation_before_is_not_the_one() {
        let pending = following("pending", Some("Upgrade"));
        assert!(!pending.is_it(&operation("upgrade-3", "Upgrade", 3)));
        assert!(!pending.is_it(&operation("backup-4", "Backup", 1)));
        assert!(pending.is_it(&operation("upgrade-5", "Upgrade", 1)));
        // A retry has the same one go on.
        let resumed = following("upgrade-3", None);
        assert!(!resumed.is_it(&operation("upgrade-3", "Upgrade", 3)));
        assert!(resumed.is_it(&operation("upgrade-3", "Upgrade", 4)));
        assert!(!resumed.is_it(&operation("upgrade-4", "Upgrade", 1)));
        assert_eq!((resumed.phases_told(), pending.phases_told()), (3, 0));
    }

    #[test]
    fn a_tenant_may_be_named_with_its_kind() {
        assert_eq!(tenant("ky04").unwrap(), "ky04");
        assert_eq!(tenant("tn/status").unwrap(), "status");
        assert!(tenant("app/cbapp").is_err());
    }
}
