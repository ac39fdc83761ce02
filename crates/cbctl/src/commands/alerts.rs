//! `cbctl alerts`: what needs a person now, and whether sinks take messages.

use serde_json::json;

use crate::cli::{Context, Done};
use crate::client::happenings::{Overview, Tried};
use crate::error::CommandError;
use crate::output::age::age;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl alerts
  cbctl alerts test
  cbctl alerts test oncall")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a test message and say what came of it
    Test {
        /// The sink's name; all sinks without
        sink: Option<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Wide, Format::Json, Format::Yaml])?;
    match &args.command {
        None => list(args, context).await,
        Some(Command::Test { sink }) => test(sink.as_deref(), context).await,
    }
}

async fn list(args: &Args, context: &Context) -> Done {
    let overview = context.client.alerts().await?;
    if let Some(format @ (Format::Json | Format::Yaml)) = context.output {
        context.ui.print(&document(&json!(overview), format)?);
        return Ok(0);
    }
    let Overview { alerts, sinks } = overview;
    let mut texts = Vec::new();
    if alerts.is_empty() {
        context.ui.note("No alerts are firing");
    } else {
        let mut table = Table::new(["TENANT", "REASON", "SINCE", "REVISION", "MESSAGE"]);
        for alert in alerts {
            table.row(vec![
                or_none(alert.tenant.map(|tenant| tenant.to_string())),
                alert.reason,
                age(Some(alert.since), context.ui.now),
                alert.revision.to_string(),
                alert.message,
            ]);
        }
        texts.push(table.render(!args.no_headers));
    }
    if !sinks.is_empty() {
        let mut table = Table::new(["SINK", "KIND", "WAITING", "LAST DELIVERED", "ERROR"]);
        for sink in sinks {
            let last = sink.last_delivered;
            table.row(vec![
                sink.name,
                sink.kind,
                sink.waiting.to_string(),
                or_none(last.map(|last| age(Some(last), context.ui.now))),
                or_none(sink.error),
            ]);
        }
        texts.push(table.render(!args.no_headers));
    }
    context.ui.print(&texts.join("\n"));
    Ok(0)
}

async fn test(sink: Option<&str>, context: &Context) -> Done {
    let tried = context.client.test_alerts(sink).await?;
    if let Some(format @ (Format::Json | Format::Yaml)) = context.output {
        context.ui.print(&document(&json!(tried), format)?);
    } else if tried.is_empty() {
        context
            .ui
            .note("The Host has no sinks in spec.alerts.sinks");
    } else {
        for Tried { sink, error } in &tried {
            match error {
                None => context
                    .ui
                    .line(&format!("sink/{sink} took the test message")),
                Some(error) => context.ui.note(&format!("error: sink/{sink}: {error}")),
            }
        }
    }
    if tried.iter().any(|tried| tried.error.is_some()) {
        return Err(CommandError::said());
    }
    Ok(0)
}
