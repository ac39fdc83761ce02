//! `cbctl logs`: what a tenant's services wrote, from the host's journal.
//!
//! The operator says which units the tenant has; `journalctl`, which is run
//! without a shell, reads them with the caller's own rights.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;
use std::time::Duration;

use cb_core::api::{Kind, ServiceStatus};
use cb_core::manifest::nearest;
use jiff::Timestamp;

use super::follow::tenant;
use super::wait;
use crate::cli::{Context, Done};
use crate::config::Endpoint;
use crate::error::{CommandError, plain};
use crate::output::Format;

/// What ends a `journalctl` whose reader left early.
const SIGPIPE: i32 = 13;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl logs ky04
  cbctl logs ky04 -s api -f --tail 20
  cbctl logs ky04 --since 10m")]
pub(crate) struct Args {
    /// The tenant
    #[arg(value_name = "TENANT", add = crate::complete::tenants())]
    tenant: String,
    /// Only this service, as the Application names it; may be given again
    #[arg(short, long, value_name = "NAME")]
    service: Vec<String>,
    /// Go on showing lines as they are written
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the newest lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only lines of this time until now, for example 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = wait::duration)]
    since: Option<Duration>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    if let Endpoint::Tls(server) = context.client.endpoint() {
        let message = "logs are read from the journal of the machine that cbctl runs on";
        let hint = format!("ssh {} cbctl logs {}", server.host, args.tenant);
        return Err(CommandError::usage(message).hint(hint));
    }
    let name = tenant(&args.tenant)?;
    let object = context.client.get(Kind::Tenant, &name).await?;
    let services = object.tenant_status().services;
    let units = units(&name, &services, &args.service)?;
    let mut journalctl = Command::new("journalctl");
    journalctl.args(arguments(&units, args, context.ui.now));
    let ended = if args.follow {
        // It takes this process's place: what ends the one ends the other.
        Err(journalctl.exec())
    } else {
        journalctl.status()
    };
    let status = ended.map_err(|error| {
        let message = format!("cannot run journalctl: {}", plain(&error));
        CommandError::failed(message).hint("it comes with systemd; install it, or mend PATH")
    })?;
    if status.success() || status.signal() == Some(SIGPIPE) {
        return Ok(0);
    }
    // It said itself what went wrong.
    Err(CommandError::failed("journalctl failed").hint(
        "run it as root, or as a member of the group systemd-journal: \
         other users may not read what services write",
    ))
}

/// The units of these services; all without a name.
fn units<'a>(
    tenant: &str,
    services: &'a [ServiceStatus],
    named: &[String],
) -> Result<Vec<&'a str>, CommandError> {
    if services.is_empty() {
        let message = format!("tenant \"{tenant}\" has no services yet");
        return Err(CommandError::failed(message)
            .hint(format!("`cbctl describe tenant {tenant}` tells why")));
    }
    if named.is_empty() {
        return Ok(services.iter().map(|of| of.unit.as_str()).collect());
    }
    let names = || services.iter().map(|of| of.name.as_str());
    let mut units = Vec::new();
    for name in named {
        let Some(service) = services.iter().find(|of| of.name == *name) else {
            let message = format!("tenant \"{tenant}\" has no service \"{name}\"");
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "its services are {}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(CommandError::failed(message).hint(hint));
        };
        units.push(service.unit.as_str());
    }
    Ok(units)
}

/// Law 10: a unit's name is a part of one argument and never an option.
fn arguments(units: &[&str], args: &Args, now: Timestamp) -> Vec<String> {
    let mut out = vec!["--no-pager".to_owned()];
    // As kubectl, from the first line on also where new ones are followed.
    out.push(match args.tail {
        Some(lines) => format!("--lines={lines}"),
        None => "--lines=all".to_owned(),
    });
    if let Some(since) = args.since {
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let start = now.as_second().saturating_sub(seconds).max(0);
        out.push(format!("--since=@{start}"));
    }
    if args.follow {
        out.push("--follow".to_owned());
    }
    out.extend(units.iter().map(|unit| format!("--unit={unit}")));
    out
}
