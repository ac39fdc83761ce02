//! The command line: what can be said, and what the process ends with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::client::Client;
use crate::commands::{
    alerts, api_resources, apply, backup, completion, delete, describe, diff, drift, events,
    explain, get, logs, ports, restore, rollout, source, upgrade, validate, version, wait_for,
};
use crate::error::CommandError;
use crate::output::{Format, Ui};

/// Controls the tenants of this host through the operator.
///
/// Exit codes: 0 done; 1 the operation failed, or `diff` or `drift` found differences;
/// 2 the command line is wrong, or `diff` or `drift` failed.
#[derive(Debug, Parser)]
#[command(name = "cbctl", version, max_term_width = 100)]
struct Arguments {
    /// The operator's socket
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CBCTL_SERVER",
        hide_env_values = true,
        default_value = "unix:///run/cb/operator.sock",
        value_parser = socket
    )]
    server: PathBuf,
    /// The form of the output
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        hide_possible_values = true,
        help = "The form of the output: wide, yaml, json or name"
    )]
    output: Option<Format>,
    /// The time, for tests.
    #[arg(long, global = true, hide = true, env = "CBCTL_NOW")]
    now: Option<Timestamp>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show objects
    Get(get::Args),
    /// Show objects in full, with conditions and services
    Describe(describe::Args),
    /// Show what the fields of a kind are; needs no operator
    Explain(explain::Args),
    /// Create or change objects from manifests
    Apply(apply::Args),
    /// Delete objects
    Delete(delete::Args),
    /// Wait until objects have a condition, or are gone
    Wait(wait_for::Args),
    /// Show what would change, or what differs on the host now
    Diff(diff::Args),
    /// Show what somebody changed on the host
    Drift(drift::Args),
    /// Show what happened
    Events(events::Args),
    /// Show what a tenant's services wrote
    Logs(logs::Args),
    /// Show which tenant's service has which port
    Ports(ports::Args),
    /// Show what needs a person now, or try the alert sinks out
    Alerts(alerts::Args),
    /// Bring a tenant to another version
    Upgrade(upgrade::Args),
    /// Bring many tenants to another version, in waves
    Rollout(rollout::Args),
    /// Make, list, verify and delete backups of a tenant
    Backup(backup::Args),
    /// Bring a tenant's database back from a backup
    Restore(restore::Args),
    /// Show which commit the manifests are, look for a new one, accept one
    Source(source::Args),
    /// Check manifests; needs no operator
    Validate(validate::Args),
    /// Show the versions of cbctl and of the operator
    Version(version::Args),
    /// Show the kinds of objects that the operator serves
    ApiResources(api_resources::Args),
    /// Print a shell's completion script
    Completion(completion::Args),
}

/// What every command has.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) ui: Ui,
    pub(crate) output: Option<Format>,
}

/// What a command ends with: an exit code.
pub(crate) type Done = Result<u8, CommandError>;

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context {
        client: Client::new(arguments.server),
        ui: Ui::new(arguments.now.unwrap_or_else(Timestamp::now)),
        output: arguments.output,
    };
    let is_diff = matches!(arguments.command, Command::Diff(_) | Command::Drift(_));
    let done = run(&arguments.command, &context);
    let done = done.and_then(|code| context.ui.finish().map(|()| code));
    let code = done.unwrap_or_else(|error| {
        context.ui.error(&error);
        // As kubectl: 1 would say that there are differences.
        if is_diff { 2 } else { error.exit_code() }
    });
    ExitCode::from(code)
}

fn run(command: &Command, context: &Context) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Get(args) => get::run(args, context).await,
            Command::Describe(args) => describe::run(args, context).await,
            Command::Explain(args) => explain::run(args, context),
            Command::Apply(args) => apply::run(args, context).await,
            Command::Delete(args) => delete::run(args, context).await,
            Command::Wait(args) => wait_for::run(args, context).await,
            Command::Diff(args) => diff::run(args, context).await,
            Command::Drift(args) => drift::run(args, context).await,
            Command::Events(args) => events::run(args, context).await,
            Command::Logs(args) => logs::run(args, context).await,
            Command::Ports(args) => ports::run(args, context).await,
            Command::Alerts(args) => alerts::run(args, context).await,
            Command::Upgrade(args) => upgrade::run(args, context).await,
            Command::Rollout(args) => rollout::run(args, context).await,
            Command::Backup(args) => backup::run(args, context).await,
            Command::Restore(args) => restore::run(args, context).await,
            Command::Source(args) => source::run(args, context).await,
            Command::Validate(args) => validate::run(args, context),
            Command::Version(args) => version::run(args, context).await,
            Command::ApiResources(args) => api_resources::run(args, context).await,
            Command::Completion(args) => completion::run(
                args,
                context,
                &mut <Arguments as clap::CommandFactory>::command(),
            ),
        }
    })
}

/// `unix:///PATH`, or the path alone.
fn socket(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err("write unix:///PATH, with the full path of the operator's socket".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_server_is_a_socket() {
        let path = |text| socket(text).ok();
        assert_eq!(path("unix:///run/x.sock"), Some("/run/x.sock".into()));
        assert_eq!(path("/run/x.sock"), Some("/run/x.sock".into()));
        assert_eq!(path("https://host:6443"), None);
        assert_eq!(path("unix://x.sock"), None);
    }
}
