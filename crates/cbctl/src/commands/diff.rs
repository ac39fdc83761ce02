//! `cbctl diff`: what would change if manifests were applied, or what differs
//! on the host now.
//!
//! The operator plans with the same planner as its passes; this prints it.
//! Exit code 0 says no difference, 1 that there are some, 2 that it failed.

use cb_core::api::Kind;
use serde_json::Value;
use similar::TextDiff;

use super::{plan_error, refuse, texts};
use crate::cli::{Context, Done};
use crate::client::api::{PlanRequest, TenantPlan};
use crate::error::CommandError;
use crate::manifests::{self, Files, Folders, Manifest};
use crate::object::{Object, full_name};
use crate::output::{Colour, Format, Ui, clean, document, one_line};
use cb_core::selector::Selector;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no differences, 1 differences, 2 it failed.

Examples:
  cbctl diff                  what differs on the host now
  cbctl diff ky04             the same for one tenant
  cbctl diff -f ky04.yaml     what applying the file would change"
)]
pub(crate) struct Args {
    /// Only these tenants
    #[arg(value_name = "TENANT", add = crate::complete::tenants())]
    tenants: Vec<String>,
    #[command(flatten)]
    files: Files,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let names = args
        .tenants
        .iter()
        .map(|word| name(word))
        .collect::<Result<Vec<_>, _>>()?;
    let mut request = PlanRequest {
        manifests: Vec::new(),
        tenants: (!names.is_empty()).then_some(names),
    };
    let mut applications = Vec::new();
    if !args.files.filename.is_empty() {
        let all = Selector::default();
        let sources = manifests::read(&args.files, Folders::Kubectl)?;
        let mut errors = manifests::errors(&sources);
        errors.extend(manifests::named_twice(&sources));
        if !errors.is_empty() {
            return Err(refuse(&context.ui, &texts(&errors), "nothing was compared"));
        }
        request.manifests = manifests::for_plan(&sources, &all);
        if request.tenants.is_none() {
            let objects = manifests::objects(&sources, &all);
            let objects = objects
                .map_err(|errors| refuse(&context.ui, &texts(&errors), "nothing was compared"))?;
            applications = objects;
            applications.retain(|manifest| manifest.kind() == Kind::Application);
        }
    }
    let response = context.client.plan(&request).await?;
    if !response.errors.is_empty() {
        let errors: Vec<String> = response.errors.iter().map(plan_error).collect();
        return Err(refuse(&context.ui, &errors, "nothing was compared"));
    }
    // That a name means nothing must not look like no difference.
    let mut asked = request.tenants.iter().flatten();
    if let Some(name) = asked.find(|name| response.plans.iter().all(|p| p.tenant != **name)) {
        let message = format!(
            "there is nothing to compare for tenant \"{}\"",
            one_line(name)
        );
        return Err(CommandError::failed(message));
    }
    let mut blocks = Vec::new();
    for manifest in &applications {
        blocks.extend(application(manifest, context).await?);
    }
    let differing = response.plans.iter().filter(|plan| differs(plan));
    blocks.extend(differing.map(|plan| tenant(plan, &context.ui)));
    context.ui.print(&blocks.join("\n"));
    Ok(u8::from(!blocks.is_empty()))
}

/// A tenant's name; `tenant/ky04` is one too.
pub(super) fn name(word: &str) -> Result<String, CommandError> {
    match word.split_once('/') {
        None => Ok(word.to_owned()),
        Some((kind, name)) if !name.contains('/') && Kind::find(kind) == Some(Kind::Tenant) => {
            Ok(name.to_owned())
        }
        Some(_) => Err(CommandError::usage(format!(
            "`{}` is not a tenant",
            one_line(word)
        ))),
    }
}

fn differs(plan: &TenantPlan) -> bool {
    plan.change != "none"
        || !plan.spec_diff.is_empty()
        || !plan.steps.is_empty()
        || !plan.blocked.is_empty()
}

/// A plan for a person.
fn tenant(plan: &TenantPlan, ui: &Ui) -> String {
    let what = match plan.change.as_str() {
        "create" => "would be created",
        "update" => "would change",
        "delete" => "would be removed",
        _ => "differs on the host",
    };
    let mut out = title(&full_name(Kind::Tenant, &plan.tenant), what, ui);
    out.push_str(&coloured(&plan.spec_diff, ui));
    for (n, step) in plan.steps.iter().enumerate() {
        let (text, reason) = (one_line(&step.text), one_line(&step.reason));
        out.push_str(&format!("  {}. {text} ({reason})\n", n + 1));
    }
    for blocked in &plan.blocked {
        let line = format!(
            "{} ({}): {}",
            blocked.aspect, blocked.reason, blocked.message
        );
        let line = format!("  blocked: {}", one_line(&line));
        out.push_str(&format!("{}\n", ui.paint(Colour::Red, &line)));
    }
    match plan.hold.as_deref() {
        None => {}
        Some("Suspended") => {
            out.push_str("  held: spec.suspend is set; nothing of this is done\n");
        }
        Some("Detect") => {
            out.push_str("  held: driftPolicy is Detect; this is reported and not put right\n");
        }
        Some("Fought") => {
            out.push_str("  held: this is undone again and again, so the next time waits\n");
        }
        Some(other) => out.push_str(&format!("  held: {}\n", one_line(other))),
    }
    out
}

pub(super) fn title(name: &str, what: &str, ui: &Ui) -> String {
    format!(
        "{}\n",
        ui.paint(Colour::Bold, &format!("{} {what}", one_line(name)))
    )
}

/// A unified diff with its lines in colours.
pub(super) fn coloured(diff: &str, ui: &Ui) -> String {
    let mut out = String::new();
    for line in clean(diff).lines() {
        let line = match line.as_bytes() {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => ui.paint(Colour::Bold, line),
            [b'+', ..] => ui.paint(Colour::Green, line),
            [b'-', ..] => ui.paint(Colour::Red, line),
            [b'@', ..] => ui.paint(Colour::Cyan, line),
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// How an Application would change. The operator's plan is about tenants; what
/// the change means for them is in theirs.
async fn application(
    manifest: &Manifest,
    context: &Context,
) -> Result<Option<String>, CommandError> {
    let live = context
        .client
        .find(Kind::Application, manifest.name())
        .await?;
    let new = manifest.shown();
    if live
        .as_ref()
        .is_some_and(|live| live.essence() == new.essence())
    {
        return Ok(None);
    }
    let what = if live.is_some() {
        "would change"
    } else {
        "would be created"
    };
    let (old, new) = hidden(live.as_ref().map(essence), essence(&new));
    let old = old.map_or_else(|| Ok(String::new()), |old| document(&old, Format::Yaml))?;
    let new = document(&new, Format::Yaml)?;
    let diff = TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(3)
        .header("live", "applied")
        .to_string();
    let name = full_name(Kind::Application, manifest.name());
    let mut out = title(&name, what, &context.ui);
    out.push_str(&coloured(&diff, &context.ui));
    Ok(Some(out))
}

/// What a person wrote, without mappings that they did not.
fn essence(object: &Object) -> Value {
    let mut essence = object.essence();
    if let Some(parts) = essence.as_object_mut() {
        parts.retain(|_, part| part.as_object().is_none_or(|part| !part.is_empty()));
    }
    essence
}

/// Law 11: a diff says that the value of an environment variable changed, and
/// no value.
fn hidden(mut old: Option<Value>, mut new: Value) -> (Option<Value>, Value) {
    let values = |object: Option<&Value>, service: &Value| {
        let services = object.and_then(|o| o["spec"]["services"].as_array());
        let same = services
            .into_iter()
            .flatten()
            .find(|s| s["name"] == *service);
        same.map(|service| service["env"].clone())
            .unwrap_or_default()
    };
    let hide = |object: &mut Value, before: Option<&Value>| {
        let services = object.pointer_mut("/spec/services");
        let services = services.and_then(Value::as_array_mut);
        for service in services.into_iter().flatten() {
            let old = values(before, &service["name"]);
            let env = service.get_mut("env").and_then(Value::as_object_mut);
            for (name, value) in env.into_iter().flatten() {
                let changed = old.get(name).is_some_and(|old| old != value);
                *value = if changed { "(changed)" } else { "(hidden)" }.into();
            }
        }
    };
    hide(&mut new, old.as_ref());
    if let Some(old) = old.as_mut() {
        hide(old, None);
    }
    (old, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Law 11.
    #[test]
    fn values_of_an_application_are_not_shown() {
        let of = |a: &str, b: &str| json!({"spec": {"services": [{"name": "api", "env": {"A": a, "B": b}}]}});
        let (old, new) = hidden(Some(of("one", "two")), of("three", "two"));
        assert_eq!(old, Some(of("(hidden)", "(hidden)")));
        assert_eq!(new, of("(changed)", "(hidden)"));
        let (old, new) = hidden(None, of("one", "two"));
        assert_eq!((old, new), (None, of("(hidden)", "(hidden)")));
    }

    #[test]
    fn only_tenants_are_compared_by_name() {
        assert_eq!(name("ky04").unwrap(), "ky04");
        assert_eq!(name("tenant/ky04").unwrap(), "ky04");
        assert!(name("app/cbapp").is_err());
    }
}
