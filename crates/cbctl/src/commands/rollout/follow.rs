//! Following a rollout: a line for each wave and for what became of each
//! tenant; on a terminal also what is waited for.
//!
//! An operator that is restarted meanwhile is no failure: the rollout goes on,
//! and so does this.

use std::collections::BTreeMap;
use std::time::Duration;

use cb_core::rollout::{Member, Rollout, State};
use serde_json::Value;

use super::show::why;
use crate::cli::{Context, Done};
use crate::client::Error;
use crate::client::rollouts::read;
use crate::error::CommandError;
use crate::output::{Colour, Format, document, one_line};

/// How long to wait before the operator is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows a rollout to its end.
pub(super) async fn to_its_end(id: &str, context: &Context) -> Done {
    let mut shown = Shown {
        context,
        wave: 0,
        told: BTreeMap::new(),
        paused: false,
    };
    let (value, rollout) = loop {
        match watched(id, context, &mut shown).await {
            Ok(Some(end)) => break end,
            // It is being restarted, or the watch has had its time.
            Ok(None) => {}
            Err(error) if error.is_final() => {}
            Err(error) => return Err(error.into()),
        }
        context.ui.progress("waiting for the operator to answer …");
        tokio::time::sleep(PAUSE).await;
    };
    let (ui, summary) = (&context.ui, rollout.summary());
    match context.output {
        Some(Format::Name) => {}
        Some(format) => ui.print(&document(&value, format)?),
        None => {}
    }
    let id = one_line(&rollout.id);
    if rollout.state == State::Failed {
        let hint = match rollout.undo {
            true => format!("`cbctl rollout resume {id} --retry-failed` tries those again"),
            false => format!(
                "`cbctl rollout resume {id} --retry-failed` goes on, `cbctl rollout undo {id}` brings all back"
            ),
        };
        return Err(CommandError::failed(format!("{id} has stopped; {summary}")).hint(hint));
    }
    if context.output.is_none() {
        let word = match rollout.state {
            State::Undone => "undone",
            _ => "succeeded",
        };
        ui.line(&format!("{id} {word}; {summary}"));
    }
    Ok(0)
}

async fn watched(
    id: &str,
    context: &Context,
    shown: &mut Shown<'_>,
) -> Result<Option<(Value, Rollout)>, Error> {
    // One that there is not would never be seen.
    context.client.rollout(id).await?;
    let mut watch = context.client.watch_rollout(id).await?;
    while let Some(mut event) = watch.next().await? {
        if event["type"] == "DELETED" || event["type"] == "ERROR" {
            return Ok(None);
        }
        let value = event["object"].take();
        let rollout = read(&value)?;
        shown.goes_on(&rollout);
        if rollout.is_over() {
            return Ok(Some((value, rollout)));
        }
    }
    Ok(None)
}

/// What was told so far.
struct Shown<'a> {
    context: &'a Context,
    wave: u32,
    /// The word that was told of each tenant.
    told: BTreeMap<String, &'static str>,
    paused: bool,
}

impl Shown<'_> {
    fn goes_on(&mut self, rollout: &Rollout) {
        if self.wave < rollout.wave {
            self.wave = rollout.wave;
            let members = rollout.tenants.iter();
            let members = members.filter(|member| member.wave == Some(rollout.wave));
            let names: Vec<&str> = members.map(|member| member.tenant.as_str()).collect();
            self.line(&format!("wave {}: {}", rollout.wave, names.join(", ")));
        }
        for member in &rollout.tenants {
            let word = member.word();
            let known = self.told.insert(member.tenant.to_string(), word);
            if known != Some(word)
                && let Some(text) = self.outcome(member)
            {
                self.line(&format!("  {:20} {text}", member.tenant.as_str()));
            }
        }
        let paused = rollout.state == State::Paused;
        if paused && !self.paused {
            self.line("paused; `cbctl rollout resume` has it go on");
        }
        self.paused = paused;
        self.waits(rollout);
    }

    fn line(&self, text: &str) {
        if self.context.output.is_none() {
            self.context.ui.line(text);
        }
    }

    /// What became of a tenant, once that is known.
    fn outcome(&self, member: &Member) -> Option<String> {
        let (colour, text) = match member.word() {
            "Succeeded" => (Colour::Green, "upgraded"),
            "Failed" => (Colour::Red, "failed"),
            "Skipped" => (Colour::Cyan, "skipped"),
            "Undone" => (Colour::Green, "brought back"),
            "UndoFailed" => (Colour::Red, "not brought back"),
            "UndoSkipped" => (Colour::Cyan, "left as it is"),
            _ => return None,
        };
        let why = why(member).map_or_else(String::new, |why| format!(" ({why})"));
        Some(format!("{}{why}", self.context.ui.paint(colour, text)))
    }

    fn waits(&self, rollout: &Rollout) {
        let flown = rollout.in_flight();
        let names: Vec<&str> = flown.map(|(_, member)| member.tenant.as_str()).collect();
        let text = match (names.as_slice(), rollout.next_wave) {
            ([], Some(at)) => format!("the next wave begins at {at} …"),
            ([], None) => "…".to_owned(),
            (names, _) => format!("waiting for {} …", names.join(", ")),
        };
        self.context.ui.progress(&text);
    }
}
