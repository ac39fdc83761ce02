//! `cbctl describe`: objects for a person to read, with everything that tells
//! why they are as they are.

use std::fmt::Write as _;

use cb_core::api::Kind;
use jiff::Timestamp;

use super::get::find;
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::Object;
use crate::output::age::age;
use crate::output::columns::state;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document, one_line};
use crate::resource;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl describe tenant ky04
  cbctl describe tn/ky04 app/cbapp")]
pub(crate) struct Args {
    /// KIND [NAME…] or KIND/NAME…
    #[arg(required = true, value_name = "KIND [NAME]")]
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
    let mut texts = Vec::new();
    for (kind, objects) in &found.objects {
        for object in objects {
            texts.push(describe(*kind, object, context.ui.now)?);
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

/// Names and values, one to a line.
#[derive(Default)]
struct Sheet(String);

impl Sheet {
    const WIDTH: usize = 18;

    fn field(&mut self, name: &str, value: &str) {
        let name = format!("{name}:");
        let _ = writeln!(
            self.0,
            "{name:width$}{}",
            one_line(value),
            width = Self::WIDTH
        );
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// Several values, the first beside the name.
    fn list(&mut self, name: &str, values: &[String]) {
        match values.split_first() {
            None => self.field(name, "<none>"),
            Some((first, rest)) => {
                self.field(name, first);
                for value in rest {
                    let _ = writeln!(
                        self.0,
                        "{:width$}{}",
                        "",
                        one_line(value),
                        width = Self::WIDTH
                    );
                }
            }
        }
    }

    fn table(&mut self, name: &str, table: &Table) {
        let _ = write!(self.0, "{name}:\n{}", table.indented(2));
    }
}

fn describe(kind: Kind, object: &Object, now: Timestamp) -> Result<String, CommandError> {
    let mut sheet = Sheet::default();
    sheet.field("Name", object.name());
    let pairs = |pairs: Vec<(&str, String)>| -> Vec<String> {
        pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    };
    sheet.list("Labels", &pairs(object.entries("/metadata/labels")));
    sheet.list("Annotations", &pairs(object.annotations()));
    sheet.optional("Manifest", object.file());
    if let Some(created) = object.text("/metadata/creationTimestamp") {
        sheet.field(
            "Created",
            &format!("{created} ({} ago)", age(object.created(), now)),
        );
    }
    match kind {
        Kind::Tenant => tenant(&mut sheet, object, now),
        Kind::Application => application(&mut sheet, object),
        Kind::Host => {
            let spec = document(&object.value()["spec"], Format::Yaml)?;
            let _ = writeln!(sheet.0, "Spec:");
            for line in spec.lines() {
                let _ = writeln!(sheet.0, "  {}", one_line(line));
            }
        }
    }
    Ok(sheet.0)
}

fn tenant(sheet: &mut Sheet, object: &Object, now: Timestamp) {
    let status = object.tenant_status();
    sheet.field("State", &state(object, &status));
    let (newest, seen) = (object.generation(), status.observed_generation);
    let seen = if seen < newest {
        format!("{newest} (the status is about {seen})")
    } else {
        newest.to_string()
    };
    sheet.field("Generation", &seen);
    sheet.optional("Display Name", object.text("/spec/displayName"));
    sheet.field("Application", &or_none(object.text("/spec/application")));
    sheet.field("Version", &or_none(object.text("/spec/version")));
    sheet.field("Running Version", &or_none(status.version.clone()));
    sheet.field("Release", &or_none(status.release.clone()));
    if let Some(version) = status.schema_version {
        sheet.field("Schema Version", &version.to_string());
    }
    for (name, pointer) in [
        ("Suspend", "/spec/suspend"),
        ("i360 Access", "/spec/database/i360"),
    ] {
        if object
            .value()
            .pointer(pointer)
            .and_then(serde_json::Value::as_bool)
            == Some(true)
        {
            sheet.field(name, "true");
        }
    }
    sheet.optional("Drift Policy", object.text("/spec/driftPolicy"));
    sheet.optional("Deletion Policy", object.text("/spec/deletionPolicy"));
    let limits: Vec<String> = object
        .entries("/spec/resources")
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    sheet.optional(
        "Resources",
        (!limits.is_empty()).then(|| limits.join(", ")).as_deref(),
    );
    sheet.list("Domains", &owned(&object.texts("/spec/domains")));
    sheet.list("URLs", &status.urls);
    let ports: Vec<String> = status
        .ports
        .iter()
        .map(|(s, port)| format!("{port} ({s})"))
        .collect();
    sheet.list("Ports", &ports);
    // Law 11: names, never values.
    let env: Vec<String> = object
        .entries("/spec/env")
        .iter()
        .map(|(name, _)| (*name).into())
        .collect();
    if !env.is_empty() {
        sheet.field("Environment", &env.join(", "));
    }
    let secrets: Vec<String> = object
        .items("/spec/secretRefs")
        .iter()
        .filter_map(|item| {
            Some(format!(
                "{} (from {})",
                item["name"].as_str()?,
                item["file"].as_str()?
            ))
        })
        .collect();
    if !secrets.is_empty() {
        sheet.list("Secrets", &secrets);
    }
    let mut services = Table::new(["NAME", "UNIT", "STATE", "HEALTHY", "INVOCATION"]);
    for service in &status.services {
        services.row(vec![
            service.name.clone(),
            service.unit.clone(),
            format!("{} ({})", service.active_state, service.sub_state),
            service
                .healthy
                .map_or("Unknown", |healthy| if healthy { "True" } else { "False" })
                .into(),
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
