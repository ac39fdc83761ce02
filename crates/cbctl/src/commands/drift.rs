//! `cbctl drift`: what somebody changed on the host: of itself, and by tenant.
//!
//! Exit code 0 says that there is none, 1 that there is some, 2 that it failed:
//! the same as those of `cbctl diff`, which shows what would be done.

use cb_core::api::Kind;
use serde_json::json;

use super::diff::{coloured, name, title};
use crate::cli::{Context, Done};
use crate::client::api::{PlanDrift, PlanRequest, TenantPlan};
use crate::object::full_name;
use crate::output::{Format, Ui, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 no drift, 1 drift, 2 it failed.

Examples:
  cbctl drift
  cbctl drift ky04
  cbctl drift -o json")]
pub(crate) struct Args {
    /// Only these tenants
    #[arg(value_name = "TENANT", add = crate::complete::tenants())]
    tenants: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let names = args.tenants.iter().map(|word| name(word));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let request = PlanRequest {
        manifests: Vec::new(),
        tenants: (!names.is_empty()).then_some(names),
    };
    let response = context.client.plan(&request).await?;
    let drifted: Vec<&TenantPlan> = response
        .plans
        .iter()
        .filter(|plan| !plan.drift.is_empty())
        .collect();
    match context.output {
        Some(format) => {
            let tenants = drifted
                .iter()
                .map(|plan| json!({"tenant": plan.tenant, "hold": plan.hold, "drift": plan.drift}));
            let all = json!({
                "host": response.host,
                "tenants": tenants.collect::<Vec<_>>(),
            });
            context.ui.print(&document(&all, format)?);
        }
        None => {
            let mut blocks = Vec::new();
            if !response.host.is_empty() {
                let title = title("the host", "has drifted", &context.ui);
                blocks.push(title + &differences(&response.host, &context.ui));
            }
            blocks.extend(drifted.iter().map(|plan| tenant(plan, &context.ui)));
            context.ui.print(&blocks.join("\n"));
        }
    }
    Ok(u8::from(!drifted.is_empty() || !response.host.is_empty()))
}

/// A tenant's differences for a person.
fn tenant(plan: &TenantPlan, ui: &Ui) -> String {
    let mut out = title(&full_name(Kind::Tenant, &plan.tenant), "has drifted", ui);
    out.push_str(&differences(&plan.drift, ui));
    match plan.hold.as_deref() {
        Some("Suspended") => out.push_str("  spec.suspend is set: it is left as it is\n"),
        Some("Detect") => out.push_str("  driftPolicy is Detect: it is left as it is\n"),
        Some("Fought") => {
            out.push_str("  it is undone again and again: the next correction waits\n");
        }
        _ => {}
    }
    out
}

fn differences(all: &[PlanDrift], ui: &Ui) -> String {
    let mut out = String::new();
    for found in all {
        let drift = &found.drift;
        let line = format!("{} {}: {}", drift.kind, drift.what, drift.detail);
        out.push_str(&format!("  {}\n", one_line(&line)));
        let since = format!("since {}", drift.since);
        let by = drift
            .by
            .as_ref()
            .map(|by| format!(", by {by} (process {})", by.pid));
        let line = format!("{since}{}", by.unwrap_or_default());
        out.push_str(&format!("    {}\n", one_line(&line)));
        for line in coloured(&found.diff, ui).lines() {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}
