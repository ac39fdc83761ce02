//! `cbctl upgrade`: another version, with its phases as they happen.

use cb_core::api::{Kind, OperationStatus, PhaseStatus};
use serde_json::{Value, json};

use super::follow::{Before, Following, Waiting, duration, failed, tenant};
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::full_name;
use crate::output::sheet::Sheet;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The version in the tenant's manifest is changed, and nothing else there. The database
is backed up, migrated, and put back if anything fails: the tenant then runs as before.

Exit codes: 0 upgraded; 1 it failed, and the tenant has the old version.

Examples:
  cbctl upgrade ky04 --to v0.3.0
  cbctl upgrade ky04 --to v0.2.0 --restore-from 20260304t120000z-7
  cbctl upgrade status ky04
  cbctl upgrade retry ky04"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The tenant
    #[arg(required = true, add = crate::complete::tenants())]
    tenant: Option<String>,
    /// The version, one that the Application lists
    #[arg(long, value_name = "VERSION", required = true)]
    to: Option<String>,
    /// Make no backup; refused if there may be migrations
    #[arg(long)]
    no_backup: bool,
    /// Apply no migrations
    #[arg(long)]
    no_migrations: bool,
    /// Put the database of this backup in place: for an older version
    #[arg(long, value_name = "BACKUP")]
    restore_from: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the versions of a tenant and its last upgrade
    Status {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
    },
    /// Try again what failed, or have go on what is halted
    Retry {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    match (&args.command, &args.tenant, &args.to) {
        (Some(Command::Status { tenant: word }), ..) => status(&tenant(word)?, context).await,
        (
            Some(Command::Retry {
                tenant: word,
                waiting,
            }),
            ..,
        ) => {
            Format::among(context.output, &FORMATS)?;
            let name = tenant(word)?;
            let ask = Ask {
                what: "retry",
                body: json!({}),
                kind: None,
            };
            ask.carry_out(&name, waiting, context).await
        }
        (None, Some(word), Some(to)) => {
            Format::among(context.output, &FORMATS)?;
            let name = tenant(word)?;
            let mut body = json!({
                "target_version": to,
                "backup_db": !args.no_backup,
                "run_migrations": !args.no_migrations,
            });
            if let Some(backup) = &args.restore_from {
                body["restore_backup"] = backup.as_str().into();
            }
            let ask = Ask {
                what: "upgrade",
                body,
                kind: Some("Upgrade"),
            };
            ask.carry_out(&name, &args.waiting, context).await
        }
        (None, ..) => Err(CommandError::usage(
            "you must say which tenant and --to what",
        )),
    }
}

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Name];

/// Something to ask for, and to follow.
pub(super) struct Ask {
    /// The last part of the path.
    pub(super) what: &'static str,
    pub(super) body: Value,
    /// The kind of operation that comes of it, if there is only one.
    pub(super) kind: Option<&'static str>,
}

impl Ask {
    /// Asks for it, and follows it as far as is wanted.
    pub(super) async fn carry_out(
        &self,
        tenant: &str,
        waiting: &Waiting,
        context: &Context,
    ) -> Done {
        let ui = &context.ui;
        let name = full_name(Kind::Tenant, tenant);
        let before = Before::of(context, tenant).await?;
        let accepted = context
            .client
            .request(tenant, self.what, &self.body)
            .await?;
        let Some(operation) = &accepted.operation else {
            let why = accepted
                .message
                .as_deref()
                .unwrap_or("nothing is to be done");
            match context.output {
                Some(Format::Name) => ui.line(&name),
                Some(format) => ui.print(&document(&accepted.value(), format)?),
                None => ui.line(&format!("{name} unchanged: {}", one_line(why))),
            }
            return Ok(0);
        };
        if !waiting.is_on() {
            match context.output {
                Some(Format::Name) => ui.line(&name),
                Some(format) => ui.print(&document(&accepted.value(), format)?),
                None => ui.line(&format!(
                    "{name} {} asked for (operation {})",
                    self.what_word(),
                    one_line(operation)
                )),
            }
            return Ok(0);
        }
        if context.output.is_none() {
            ui.line(&format!("{name} {} asked for", self.what_word()));
        }
        let following = Following::new(tenant, self.kind, before, &accepted);
        let quiet = context.output.is_some();
        let end = following.to_its_end(context, waiting, quiet).await?;
        self.told(tenant, &end, context).await
    }

    fn what_word(&self) -> &'static str {
        match self.what {
            "backups" => "backup",
            what => what,
        }
    }

    /// The outcome.
    async fn told(&self, tenant: &str, end: &OperationStatus, context: &Context) -> Done {
        let ui = &context.ui;
        let name = full_name(Kind::Tenant, tenant);
        let done = match end.kind.as_str() {
            "Upgrade" => {
                let word = match self.what {
                    "restore" => "restored with",
                    _ => "upgraded to",
                };
                format!("{word} {}", one_line(&end.to_version))
            }
            "Restore" => "restored".to_owned(),
            _ => "backed up".to_owned(),
        };
        match context.output {
            Some(Format::Json | Format::Yaml) => {
                let format = context.output.unwrap_or(Format::Yaml);
                let operation = context.client.operation(tenant).await?;
                ui.print(&document(&operation, format)?);
            }
            Some(_) if end.state == "Succeeded" => match (end.kind.as_str(), &end.backup) {
                ("Backup", Some(backup)) => ui.line(&one_line(backup)),
                _ => ui.line(&name),
            },
            _ => {}
        }
        if end.state != "Succeeded" {
            return Err(failed(context, tenant, &done, end));
        }
        if context.output.is_none() {
            let backup = end.backup.as_deref().map_or_else(String::new, |backup| {
                let backup = one_line(backup);
                match end.kind.as_str() {
                    "Backup" => format!(" (backup {backup})"),
                    _ => format!(" (the database before is in backup {backup})"),
                }
            });
            ui.line(&format!("{name} {done}{backup}"));
        }
        Ok(0)
    }
}

async fn status(tenant: &str, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let version = context.client.tenant_version(tenant).await?;
    match context.output {
        Some(format) => context.ui.print(&document(&version, format)?),
        None => context.ui.print(&sheet(tenant, &version)),
    }
    Ok(0)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn sheet(tenant: &str, version: &Value) -> String {
    let mut sheet = Sheet::default();
    sheet.field("Tenant", tenant);
    sheet.field("Running", &text(&version["running"]));
    sheet.field("Desired", &text(&version["desired"]));
    sheet.field("Schema", &text(&version["schema"]));
    let available = version["available"].as_array();
    let available: Vec<String> = available.into_iter().flatten().map(text).collect();
    sheet.field(
        "Available",
        &or_none(Some(available.join(", ")).filter(|a| !a.is_empty())),
    );
    let last = &version["last_upgrade"];
    let Some(state) = last["state"].as_str() else {
        sheet.field("Last Upgrade", "<none>");
        return sheet.text();
    };
    sheet.field("Last Upgrade", &format!("{} {state}", text(&last["id"])));
    for (name, field) in [
        ("From", "from"),
        ("To", "to"),
        ("Started", "started"),
        ("Ended", "ended"),
        ("Backup", "backup"),
        ("Reason", "reason"),
        ("Message", "message"),
    ] {
        sheet.optional(name, last[field].as_str());
    }
    let mut table = Table::new(["PHASE", "RESULT", "TIME"]);
    let phases: Vec<PhaseStatus> =
        serde_json::from_value(last["phases"].clone()).unwrap_or_default();
    for phase in &phases {
        let result = phase.result.as_deref().unwrap_or("Running");
        table.row(vec![phase.name.clone(), result.into(), duration(phase)]);
    }
    sheet.table("Phases", &table);
    sheet.text()
}
