//! The command line: what can be said, and what the process ends with.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::client::Client;
use crate::commands::{
    alerts, api_resources, apply, audit, backup, completion, config, delete, describe, diff,
    doctor, drift, edit, events, explain, get, import, init, kubeconfig, label, logs, patch, ports,
    render, restore, rollout, source, suspend, token, top, upgrade, validate, version, wait_for,
};
use crate::complete;
use crate::config::{Config, DEFAULT_SOCKET, Endpoint};
use crate::error::CommandError;
use crate::output::{Format, Ui};

/// Controls the tenants of this host through the operator.
///
/// Exit codes: 0 done; 1 the operation failed, or `diff` or `drift` found differences;
/// 2 the command line is wrong, or `diff` or `drift` failed.
#[derive(Debug, Parser)]
#[command(name = "cbctl", version, max_term_width = 100)]
struct Arguments {
    /// The operator, as unix:///PATH or https://HOST:PORT; comes before a context
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CBCTL_SERVER",
        hide_env_values = true
    )]
    server: Option<String>,
    /// The context, as `cbctl config` has them; else the current one
    #[arg(long, global = true, value_name = "NAME", env = "CBCTL_CONTEXT",
          hide_env_values = true, add = complete::contexts())]
    context: Option<String>,
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
    /// Change an object in an editor
    Edit(edit::Args),
    /// Change a part of an object
    Patch(patch::Args),
    /// Set or remove labels
    Label(label::Args),
    /// Set or remove annotations
    Annotate(label::Args),
    /// Have the operator leave tenants as they are
    Suspend(suspend::Args),
    /// Have the operator keep suspended tenants again
    Resume(suspend::Args),
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
    /// Show what tenants use of the processor, of memory and of the disk
    Top(top::Args),
    /// Show which tenant's service has which port
    Ports(ports::Args),
    /// Show what needs a person now, or try the alert sinks out
    Alerts(alerts::Args),
    /// Bring a tenant to another version
    Upgrade(upgrade::Args),
    /// Bring many tenants to another version, in waves; restart services
    Rollout(rollout::Args),
    /// Make, list, verify and delete backups of a tenant
    Backup(backup::Args),
    /// Bring a tenant's database back from a backup
    Restore(restore::Args),
    /// Show which commit the manifests are, look for a new one, accept one
    Source(source::Args),
    /// Make, list and revoke tokens for the API over TCP
    Token(token::Args),
    /// Make a token and print a kubeconfig with it, for kubectl
    Kubeconfig(kubeconfig::Args),
    /// Show who changed what, from where
    Audit(audit::Args),
    /// Check manifests; needs no operator
    Validate(validate::Args),
    /// Show the units, sites and environments of manifests; needs no operator
    Render(render::Args),
    /// Write a first Host, Application and Tenant; needs no operator
    Init(init::Args),
    /// Read a host that was set up by hand as manifests, and take it over
    Import(import::Args),
    /// Check this machine, and say how to mend it
    Doctor(doctor::Args),
    /// Show and change the contexts: which host's operator is asked
    Config(config::Args),
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
    // A shell may ask for completions; then this ends here.
    clap_complete::CompleteEnv::with_factory(command).complete();
    let arguments = Arguments::parse();
    let ui = Ui::new(arguments.now.unwrap_or_else(Timestamp::now));
    let endpoint = match arguments.endpoint() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            ui.error(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let context = Context {
        client: Client::new(endpoint),
        ui,
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

/// The definition of the command line.
pub(crate) fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

impl Arguments {
    /// Where the operator is asked. A command that asks none works without it.
    fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let found = Config::load()
            .and_then(|config| config.endpoint(self.server.as_deref(), self.context.as_deref()));
        match self.command {
            Command::Config(_)
            | Command::Completion(_)
            | Command::Explain(_)
            | Command::Init(_)
            | Command::Render(_)
            | Command::Validate(_) => {
                Ok(found.unwrap_or_else(|_| Endpoint::Socket(DEFAULT_SOCKET.into())))
            }
            _ => found,
        }
    }
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
            Command::Edit(args) => edit::run(args, context).await,
            Command::Patch(args) => patch::run(args, context).await,
            Command::Label(args) => label::run(args, label::What::Labels, context).await,
            Command::Annotate(args) => label::run(args, label::What::Annotations, context).await,
            Command::Suspend(args) => suspend::run(args, true, context).await,
            Command::Resume(args) => suspend::run(args, false, context).await,
            Command::Wait(args) => wait_for::run(args, context).await,
            Command::Diff(args) => diff::run(args, context).await,
            Command::Drift(args) => drift::run(args, context).await,
            Command::Events(args) => events::run(args, context).await,
            Command::Logs(args) => logs::run(args, context).await,
            Command::Top(args) => top::run(args, context).await,
            Command::Ports(args) => ports::run(args, context).await,
            Command::Alerts(args) => alerts::run(args, context).await,
            Command::Upgrade(args) => upgrade::run(args, context).await,
            Command::Rollout(args) => rollout::run(args, context).await,
            Command::Backup(args) => backup::run(args, context).await,
            Command::Restore(args) => restore::run(args, context).await,
            Command::Source(args) => source::run(args, context).await,
            Command::Token(args) => token::run(args, context).await,
            Command::Kubeconfig(args) => kubeconfig::run(args, context).await,
            Command::Audit(args) => audit::run(args, context).await,
            Command::Validate(args) => validate::run(args, context),
            Command::Version(args) => version::run(args, context).await,
            Command::ApiResources(args) => api_resources::run(args, context).await,
            Command::Render(args) => render::run(args, context),
            Command::Init(args) => init::run(args, context),
            Command::Import(args) => import::run(args, context).await,
            Command::Doctor(args) => doctor::run(args, context).await,
            Command::Config(args) => config::run(args, context),
            Command::Completion(args) => completion::run(args, context),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
