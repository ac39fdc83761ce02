//! `cbctl describe`: objects for a person to read, with everything that tells
//! why they are as they are.

use cb_core::api::{Kind, TenantStatus};
use jiff::Timestamp;
use serde_json::Value;

use super::events;
use super::get::find;
use super::top::mebibytes;
use crate::cli::{Context, Done};
use crate::client::changes::{Measure, TenantUsage};
use crate::error::CommandError;
use crate::object::Object;
use crate::output::age::age;
use crate::output::columns::state;
use crate::output::sheet::Sheet;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl describe tenant ky04
  cbctl describe tn/ky04 app/cbapp")]
pub(crate) struct Args {
    /// KIND [NAME…] or KIND/NAME…
    #[arg(required = true, value_name = "KIND [NAME]", add = crate::complete::objects())]
    objects: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let wanted = resource::parse(&args.objects)?;
    let found = find(&wanted, args.selector.as_deref(), context).await?;
    let has_tenants = found
        .objects
        .iter()
        .any(|(kind, of)| *kind == Kind::Tenant && !of.is_empty());
    // A token of one tenant may not ask for it; the rest is shown.
    let usage = match has_tenants {
        true => context
            .client
            .usage(Measure::Disk)
            .await
            .unwrap_or_default(),
        false => Vec::new(),
    };
    let mut texts = Vec::new();
    for (kind, objects) in &found.objects {
        for object in objects {
            let mut sheet = describe(*kind, object, (&usage, context.ui.now))?;
            let fields = events::about(*kind, object.name());
            let events = context.client.events(&fields).await?;
            sheet.table("Events", &events::table(events.items, context.ui.now));
            texts.push(sheet.text());
        }
    }
    if texts.is_empty() && found.errors.is_empty() {
        context.ui.note("No resources found");
    }
    context.ui.print(&texts.join("\n\n"));
    for error in &found.errors {
        context.ui.error(error);
    }
    if found.errors.is_empty() {
        Ok(0)
    } else {
        Err(CommandError::said())
    }
}

fn describe(
    kind: Kind,
    object: &Object,
    (usage, now): (&[TenantUsage], Timestamp),
) -> Result<Sheet, CommandError> {
    let mut sheet = Sheet::default();
    sheet.field("Name", object.name());
    sheet.list("Labels", &pairs(&object.entries("/metadata/labels")));
    sheet.list("Annotations", &pairs(&object.annotations()));
    sheet.optional("Manifest", object.file());
    if let Some(created) = object.text("/metadata/creationTimestamp") {
        sheet.field(
            "Created",
            &format!("{created} ({} ago)", age(object.created(), now)),
        );
    }
    match kind {
        Kind::Tenant => {
            let usage = usage.iter().find(|of| of.tenant == object.name());
            tenant(&mut sheet, object, (usage.and_then(disk), now));
        }
        Kind::Application => application(&mut sheet, object),
        Kind::Host => {
            sheet.block("Spec", &document(&object.value()["spec"], Format::Yaml)?);
        }
    }
    Ok(sheet)
}

fn tenant(sheet: &mut Sheet, object: &Object, (disk, now): (Option<String>, Timestamp)) {
    let status = object.tenant_status();
    sheet.field("State", &state(object, &status));
    let (newest, seen) = (object.generation(), status.observed_generation);
    let generation = if seen < newest {
        format!("{newest} (the status is about {seen})")
    } else {
        newest.to_string()
    };
    sheet.field("Generation", &generation);
    tenant_spec(sheet, object);
    sheet.optional("Disk", disk.as_deref());
    tenant_status(sheet, &status, now);
}

/// What the tenant has on disk, and what it may have.
fn disk(usage: &TenantUsage) -> Option<String> {
    let used = usage.disk_bytes.map(mebibytes);
    Some(match (used, usage.disk_limit_bytes.map(mebibytes)) {
        (Some(used), Some(limit)) => format!("{used} of {limit}"),
        (Some(used), None) => format!("{used}, without a limit"),
        (None, Some(limit)) => format!("not yet looked at, of {limit}"),
        (None, None) => return None,
    })
}

/// What the tenant should be.
fn tenant_spec(sheet: &mut Sheet, object: &Object) {
    sheet.optional("Display Name", object.text("/spec/displayName"));
    sheet.field("Application", &or_none(object.text("/spec/application")));
    sheet.field("Version", &or_none(object.text("/spec/version")));
    sheet.list("Domains", &owned(&object.texts("/spec/domains")));
    for (name, pointer) in [
        ("Suspend", "/spec/suspend"),
        ("i360 Access", "/spec/database/i360"),
    ] {
        if object.value().pointer(pointer) == Some(&Value::Bool(true)) {
            sheet.field(name, "true");
        }
    }
    sheet.optional("Drift Policy", object.text("/spec/driftPolicy"));
    sheet.optional("Deletion Policy", object.text("/spec/deletionPolicy"));
    sheet.some("Resources", &pairs(&object.entries("/spec/resources")));
    sheet.some(
        "Placement",
        &pairs(&object.entries("/spec/placement/hostSelector")),
    );
    // Law 11: names, never values.
    let env = object.entries("/spec/env");
    let env: Vec<&str> = env.iter().map(|(name, _)| *name).collect();
    sheet.some("Environment", &owned(&env));
    let secret = |item: &Value| {
        let sources = ["/file", "/credential", "/age", "/sops/file", "/sops"];
        let mut sources = sources.iter().filter_map(|at| item.pointer(at)?.as_str());
        let from = format!("(from {})", sources.next()?);
        Some(match item["name"].as_str() {
            Some(name) => format!("{name} {from}"),
            None => format!("variables {from}"),
        })
    };
    let secrets = object.items("/spec/secretRefs").iter();
    let secrets = secrets.chain(object.items("/spec/envFrom"));
    sheet.some("Secrets", &secrets.filter_map(secret).collect::<Vec<_>>());
}

/// What the operator saw.
fn tenant_status(sheet: &mut Sheet, status: &TenantStatus, now: Timestamp) {
    sheet.field("Running Version", &or_none(status.version.clone()));
    sheet.field("Release", &or_none(status.release.clone()));
    if let Some(version) = status.schema_version {
        sheet.field("Schema Version", &version.to_string());
    }
    sheet.list("URLs", &status.urls);
    let ports = status.ports.iter();
    let ports = ports.map(|(service, port)| format!("{port} ({service})"));
    sheet.list("Ports", &ports.collect::<Vec<_>>());
    let mut services = Table::new(["NAME", "UNIT", "STATE", "HEALTHY", "INVOCATION"]);
    for service in &status.services {
        let healthy = match service.healthy {
            None => "Unknown",
            Some(true) => "True",
            Some(false) => "False",
        };
        services.row(vec![
            service.name.clone(),
            service.unit.clone(),
            format!("{} ({})", service.active_state, service.sub_state),
            healthy.into(),
            or_none(service.invocation_id.clone()),
        ]);
    }
    sheet.table("Services", &services);
    let mut conditions = Table::new(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in &status.conditions {
        conditions.row(vec![
            condition.kind.clone(),
            condition.status.as_str().into(),
            condition.reason.clone(),
            age(condition.last_transition_time.parse().ok(), now),
            condition.message.clone(),
        ]);
    }
    sheet.table("Conditions", &conditions);
}

fn application(sheet: &mut Sheet, object: &Object) {
    sheet.field("Generation", &object.generation().to_string());
    sheet.field("Database File", &or_none(object.text("/spec/databaseFile")));
    let mut versions = Table::new(["NAME", "SOURCE"]);
    for version in object.items("/spec/versions") {
        let source = ["folder", "archive"].iter().find_map(|kind| {
            let path = version[*kind]["path"].as_str()?;
            Some(format!("{kind} {path}"))
        });
        versions.row(vec![or_none(version["name"].as_str()), or_none(source)]);
    }
    sheet.table("Versions", &versions);
    let mut services = Table::new(["NAME", "COMMAND", "PORT OFFSET", "HEALTH CHECK"]);
    for service in object.items("/spec/services") {
        services.row(vec![
            or_none(service["name"].as_str()),
            or_none(service["command"].as_str()),
            or_none(
                service["portOffset"]
                    .as_u64()
                    .map(|offset| offset.to_string()),
            ),
            or_none(service["healthCheck"]["path"].as_str()),
        ]);
    }
    sheet.table("Services", &services);
    let mut routes = Table::new(["PATH", "SERVICE"]);
    for route in object.items("/spec/routes") {
        routes.row(vec![
            or_none(route["path"].as_str()),
            or_none(route["service"].as_str()),
        ]);
    }
    sheet.table("Routes", &routes);
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(entries: &[(&str, String)]) -> Vec<String> {
    let pairs = entries.iter();
    pairs.map(|(key, value)| format!("{key}={value}")).collect()
}
