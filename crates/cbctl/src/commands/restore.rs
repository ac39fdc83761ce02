//! `cbctl restore`: a tenant's database as it is in a backup.

use serde_json::json;

use super::follow::{Waiting, tenant};
use super::upgrade::Ask;
use crate::cli::{Context, Done};
use crate::output::Format;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is replaced is backed up first. A backup of another version than the one that
runs is only restored with --to-version: the tenant then goes back to that version.

Examples:
  cbctl restore ky04 20260304t120000z-7
  cbctl restore ky04 20260304t120000z-7 --to-version v0.2.0"
)]
pub(crate) struct Args {
    /// The tenant
    #[arg(add = crate::complete::tenants())]
    tenant: String,
    /// The backup; `cbctl backup list TENANT` lists them
    backup: String,
    /// The backup's version, if it is another than the one that runs
    #[arg(long, value_name = "VERSION")]
    to_version: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json, Format::Name])?;
    let mut body = json!({"backup": args.backup});
    if let Some(version) = &args.to_version {
        body["version"] = version.as_str().into();
    }
    // With another version it is an upgrade to that.
    let ask = Ask {
        what: "restore",
        body,
        kind: None,
    };
    ask.carry_out(&tenant(&args.tenant)?, &args.waiting, context)
        .await
}
