//! `cbctl suspend` and `cbctl resume`: whether the operator leaves a tenant as
//! it is.

use cb_core::api::Kind;
use serde_json::json;

use super::follow::tenant;
use crate::cli::{Context, Done};
use crate::client::changes::PatchKind;
use crate::error::CommandError;
use crate::object::full_name;
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A suspended tenant is left as it is: its services go on, and nothing of it is changed or put
right. It is `spec.suspend` of the manifest.

Examples:
  cbctl suspend ky04
  cbctl resume ky04"
)]
pub(crate) struct Args {
    /// The tenants
    #[arg(required = true, value_name = "TENANT", add = crate::complete::tenants())]
    tenants: Vec<String>,
}

/// Runs the command; `suspend` says which of the two.
pub(crate) async fn run(args: &Args, suspend: bool, context: &Context) -> Done {
    Format::among(context.output, &[Format::Name, Format::Yaml, Format::Json])?;
    let names = args.tenants.iter().map(|word| tenant(word));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let done = if suspend { "suspended" } else { "resumed" };
    let mut failed = false;
    for name in &names {
        match one(name, suspend, context).await {
            Ok(true) => say(name, done, context),
            Ok(false) => say(name, &format!("{done} already"), context),
            Err(error) => {
                context.ui.error(&error);
                failed = true;
            }
        }
    }
    if failed {
        return Err(CommandError::said());
    }
    Ok(0)
}

/// Returns whether anything had to be changed.
async fn one(name: &str, suspend: bool, context: &Context) -> Result<bool, CommandError> {
    let at = (Kind::Tenant, name);
    let mut object = context.client.get(at.0, at.1).await?;
    let now = object.value()["spec"]["suspend"].as_bool().unwrap_or(false);
    if now != suspend {
        let patch = json!({"spec": {"suspend": suspend}});
        let written = context.client.patch(at, PatchKind::Merge, &patch, false);
        object = written.await?.object;
    }
    if let Some(format) = context.output.filter(|format| *format != Format::Name) {
        context.ui.print(&document(object.value(), format)?);
    }
    Ok(now != suspend)
}

fn say(name: &str, what: &str, context: &Context) {
    let full = full_name(Kind::Tenant, name);
    match context.output {
        None => context.ui.line(&format!("{full} {what}")),
        Some(Format::Name) => context.ui.line(&full),
        Some(_) => {}
    }
}
