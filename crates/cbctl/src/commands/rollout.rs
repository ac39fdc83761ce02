//! `cbctl rollout`: many tenants to one version, in waves.

mod follow;
mod show;

use std::time::Duration;

use cb_core::api::Kind;
use cb_core::rollout::{Rollout, WaveSize};
use serde_json::{Value, json};

use super::follow::tenant;
use super::{plural, wait};
use crate::cli::{Context, Done};
use crate::client::rollouts::read;
use crate::error::CommandError;
use crate::object::full_name;
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each tenant is upgraded as by `cbctl upgrade`. After a wave the next one begins, unless
more tenants failed than may: then the rollout stops, and those that failed are as before.
Where a rollout is not named, the newest one is meant.

Exit codes: 0 done; 1 it stopped because too many tenants failed.

Examples:
  cbctl rollout start --selector ring=canary --to v0.3.0 --wait
  cbctl rollout start --all --to v0.3.0 --wave 10% --pause 5m --max-failures 2
  cbctl rollout status -w
  cbctl rollout resume --retry-failed
  cbctl rollout undo rollout-7
  cbctl rollout restart ky04"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Begin one
    Start(Start),
    /// Show how far one is, tenant by tenant
    Status {
        /// The rollout
        id: Option<String>,
        /// Follow it to its end
        #[arg(short, long)]
        watch: bool,
    },
    /// List them, newest first
    #[command(visible_alias = "history")]
    List {
        /// Leave out the headers
        #[arg(long)]
        no_headers: bool,
    },
    /// Ask no further tenant; those that were asked come to their end
    Pause {
        /// The rollout
        id: Option<String>,
    },
    /// Go on, at once
    Resume {
        /// The rollout
        id: Option<String>,
        /// Ask those that failed again
        #[arg(long)]
        retry_failed: bool,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Bring back the tenants that it upgraded, with their databases as before
    Undo {
        /// The rollout
        id: String,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Stop and start every service of tenants, with the same version
    Restart {
        /// The tenants
        #[arg(required = true, value_name = "TENANT", add = crate::complete::tenants())]
        tenants: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Start {
    /// The tenants
    #[arg(required_unless_present_any = ["selector", "all"])]
    tenants: Vec<String>,
    /// The tenants with these labels
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "tenants")]
    selector: Option<String>,
    /// All tenants
    #[arg(long, conflicts_with_all = ["tenants", "selector"])]
    all: bool,
    /// The version, one that the Application lists
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// How many tenants are asked at the same time: a number, or a share as 10%
    #[arg(long, value_name = "SIZE", default_value = "10%")]
    wave: WaveSize,
    /// How long to wait between two waves, for example 30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = wait::duration)]
    pause: Duration,
    /// How many tenants may fail before it stops
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    max_failures: u32,
    /// Make no backups; refused of a tenant that may have migrations
    #[arg(long)]
    no_backup: bool,
    /// Apply no migrations
    #[arg(long)]
    no_migrations: bool,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
}

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Name];

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &FORMATS)?;
    match &args.command {
        Command::Start(start) => {
            let answer = context.client.start_rollout(&start.spec()?).await?;
            let rollout = read(&answer)?;
            let size = rollout.spec.wave.of(rollout.tenants.len());
            let what = format!(
                "started: {} to {}, in waves of {size}",
                plural(rollout.tenants.len(), "tenant"),
                one_line(rollout.spec.target_version.as_str())
            );
            said(&answer, &rollout, &what, start.wait, context).await
        }
        Command::Status { id, watch } => {
            status(&named(id.as_deref(), context).await?, *watch, context).await
        }
        Command::List { no_headers } => list(!no_headers, context).await,
        Command::Pause { id } => {
            let id = named(id.as_deref(), context).await?;
            let answer = context
                .client
                .tell_rollout(&id, "pause", &json!({}))
                .await?;
            said(&answer, &read(&answer)?, "paused", false, context).await
        }
        Command::Resume {
            id,
            retry_failed,
            wait,
        } => {
            let id = named(id.as_deref(), context).await?;
            let body = json!({"retryFailed": retry_failed});
            let answer = context.client.tell_rollout(&id, "resume", &body).await?;
            said(&answer, &read(&answer)?, "goes on", *wait, context).await
        }
        Command::Undo { id, wait } => {
            let id = named(Some(id), context).await?;
            let answer = context.client.tell_rollout(&id, "undo", &json!({})).await?;
            said(&answer, &read(&answer)?, "is being undone", *wait, context).await
        }
        Command::Restart { tenants } => restart(tenants, context).await,
    }
}

impl Start {
    fn spec(&self) -> Result<Value, CommandError> {
        let seconds = u32::try_from(self.pause.as_secs())
            .map_err(|_| CommandError::usage("--pause is too long"))?;
        let mut spec = json!({
            "targetVersion": self.to,
            "wave": self.wave,
            "pauseSeconds": seconds,
            "maxFailures": self.max_failures,
            "backupDb": !self.no_backup,
            "runMigrations": !self.no_migrations,
        });
        match (&self.selector, self.all) {
            (None, false) => {
                let names = self.tenants.iter().map(|word| tenant(word));
                spec["tenants"] = names.collect::<Result<Vec<_>, _>>()?.into();
            }
            (_, true) => spec["selector"] = "".into(),
            // To the operator an empty one means all: that has its own word.
            (Some(text), _) if text.trim().is_empty() => {
                return Err(
                    CommandError::usage("--selector is empty").hint("--all means all tenants")
                );
            }
            (Some(text), _) => spec["selector"] = text.as_str().into(),
        }
        Ok(spec)
    }
}

/// One tenant after the other; one that cannot be restarted stops none.
async fn restart(tenants: &[String], context: &Context) -> Done {
    let names = tenants.iter().map(|word| tenant(word));
    let mut failed = false;
    for name in names.collect::<Result<Vec<_>, _>>()? {
        match context.client.restart(&name).await {
            Ok(object) => {
                let full = full_name(Kind::Tenant, &name);
                match context.output {
                    None => context.ui.line(&format!("{full} restarted")),
                    Some(Format::Name) => context.ui.line(&full),
                    Some(format) => context.ui.print(&document(object.value(), format)?),
                }
            }
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => {
                context.ui.error(&error.into());
                failed = true;
            }
        }
    }
    if failed {
        Err(CommandError::said())
    } else {
        Ok(0)
    }
}

/// The identifier of a rollout from the command line: `rollout-7`, `7`, or
/// nothing for the newest.
async fn named(word: Option<&str>, context: &Context) -> Result<String, CommandError> {
    match word {
        Some(word) => Ok(match word.parse::<u64>() {
            Ok(number) => Rollout::id_of(number),
            Err(_) => word.to_owned(),
        }),
        None => {
            let all = context.client.rollouts().await?;
            let newest = all["items"].as_array().and_then(|items| items.last());
            let id = newest.and_then(|newest| newest["id"].as_str());
            id.map(str::to_owned).ok_or_else(|| {
                CommandError::failed("there was no rollout yet")
                    .hint("`cbctl rollout start` begins one")
            })
        }
    }
}

/// Says what came of a command, and follows the rollout if that is wanted.
async fn said(
    answer: &Value,
    rollout: &Rollout,
    what: &str,
    wait: bool,
    context: &Context,
) -> Done {
    let ui = &context.ui;
    match context.output {
        None => ui.line(&format!("{} {what}", rollout.id)),
        Some(Format::Name) => ui.line(&rollout.id),
        Some(format) if !wait => ui.print(&document(answer, format)?),
        Some(_) => {}
    }
    match wait {
        true => follow::to_its_end(&rollout.id, context).await,
        false => Ok(0),
    }
}

async fn status(id: &str, watch: bool, context: &Context) -> Done {
    if watch {
        return follow::to_its_end(id, context).await;
    }
    let answer = context.client.rollout(id).await?;
    match context.output {
        Some(Format::Name) => context.ui.line(&read(&answer)?.id),
        Some(format) => context.ui.print(&document(&answer, format)?),
        None => context.ui.print(&show::sheet(&read(&answer)?)),
    }
    Ok(0)
}

async fn list(headers: bool, context: &Context) -> Done {
    let answer = context.client.rollouts().await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let rollouts = items.iter().rev().map(read);
    let rollouts: Vec<Rollout> = rollouts.collect::<Result<_, _>>()?;
    let ui = &context.ui;
    match context.output {
        Some(Format::Name) => rollouts.iter().for_each(|rollout| ui.line(&rollout.id)),
        Some(format) => ui.print(&document(&answer, format)?),
        None if rollouts.is_empty() => ui.note("No rollouts found"),
        None => ui.print(&show::table(&rollouts, ui.now).render(headers)),
    }
    Ok(0)
}
