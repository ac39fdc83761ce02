//! `cbctl backup`: make, list, verify, fetch and delete backups of a tenant.

use cb_core::api::Kind;
use serde_json::{Value, json};

use super::follow::{Waiting, tenant};
use super::upgrade::Ask;
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::object::full_name;
use crate::output::age::age;
use crate::output::table::Table;
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A backup needs the tenant's services stopped for a moment. It is verified as it is made.

Examples:
  cbctl backup create ky04
  cbctl backup list ky04
  cbctl backup verify ky04 20260304t120000z-7
  cbctl backup fetch ky04 20260304t120000z-7
  cbctl backup delete ky04 20260304t120000z-7"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make one
    Create {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// List them, newest first, with the copies off the host
    List {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        /// Leave out the headers
        #[arg(long)]
        no_headers: bool,
    },
    /// Read one whole and compare it with what was recorded of it
    Verify {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        /// The backup
        backup: String,
    },
    /// Bring one back from off the host, for `cbctl restore`
    Fetch {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        /// The backup; one that is on the host is left as it is
        backup: String,
    },
    /// Delete one; a copy off the host stays
    Delete {
        /// The tenant
        #[arg(add = crate::complete::tenants())]
        tenant: String,
        /// The backup
        backup: String,
        /// Even if it is the only good one
        #[arg(long)]
        force: bool,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    let all = [Format::Yaml, Format::Json, Format::Name];
    match &args.command {
        Command::Create {
            tenant: word,
            waiting,
        } => {
            Format::among(context.output, &all)?;
            let ask = Ask {
                what: "backups",
                body: json!({}),
                kind: Some("Backup"),
            };
            ask.carry_out(&tenant(word)?, waiting, context).await
        }
        Command::List {
            tenant: word,
            no_headers,
        } => {
            Format::among(context.output, &all)?;
            list(&tenant(word)?, !no_headers, context).await
        }
        Command::Verify {
            tenant: word,
            backup,
        } => {
            Format::among(context.output, &[Format::Yaml, Format::Json])?;
            verify(&tenant(word)?, backup, context).await
        }
        Command::Fetch {
            tenant: word,
            backup,
        } => {
            Format::among(context.output, &all)?;
            fetch(&tenant(word)?, backup, context).await
        }
        Command::Delete {
            tenant: word,
            backup,
            force,
        } => {
            Format::among(context.output, &[Format::Name])?;
            let name = tenant(word)?;
            context.client.delete_backup(&name, backup, *force).await?;
            context.ui.line(&match context.output {
                Some(_) => one_line(backup),
                None => format!(
                    "backup \"{}\" of {} deleted",
                    one_line(backup),
                    full_name(Kind::Tenant, &name)
                ),
            });
            Ok(0)
        }
    }
}

async fn list(tenant: &str, headers: bool, context: &Context) -> Done {
    let answer = context.client.backups(tenant).await?;
    let backups = answer["backups"].as_array().cloned().unwrap_or_default();
    let ui = &context.ui;
    if let (Some(error), None) = (answer["offsiteError"].as_str(), context.output) {
        let error = one_line(error);
        ui.note(&format!("The copies off the host are not known: {error}"));
    }
    match context.output {
        Some(Format::Name) => {
            for backup in &backups {
                ui.line(&one_line(backup["id"].as_str().unwrap_or_default()));
            }
        }
        Some(format) => ui.print(&document(&answer, format)?),
        None if backups.is_empty() => {
            let name = full_name(Kind::Tenant, tenant);
            ui.note(&format!("No backups found of {name}"));
        }
        None => ui.print(&table(&backups, context).render(headers)),
    }
    Ok(0)
}

fn table(backups: &[Value], context: &Context) -> Table {
    let mut table = Table::new([
        "ID", "CAUSE", "VERSION", "SCHEMA", "SIZE", "VERIFIED", "OFFSITE", "AGE",
    ]);
    for backup in backups {
        let text = |field: &str| match &backup[field] {
            Value::Null => "<none>".to_owned(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let offsite = match (backup["onHost"].as_bool(), backup["offsite"].as_bool()) {
            (Some(false), _) => "only".to_owned(),
            _ => text("offsite"),
        };
        let created = backup["created"].as_str();
        let created = created.and_then(|created| created.parse().ok());
        table.row(vec![
            text("id"),
            text("cause"),
            text("version"),
            text("schema"),
            size(backup["bytes"].as_u64().unwrap_or_default()),
            text("verified"),
            offsite,
            age(created, context.ui.now),
        ]);
    }
    table
}

/// A size as Kubernetes writes quantities: `512`, `1.5Ki`, `20Mi`.
fn size(bytes: u64) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = (0..units.len() - 1)
        .find(|power| bytes >> (10 * power) < 1024)
        .unwrap_or(units.len() - 1);
    let unit = 1_u64 << (10 * power);
    let (whole, tenths) = (bytes / unit, bytes % unit / (unit / 10).max(1));
    match (whole, tenths) {
        (0..10, 1..) if power > 0 => format!("{whole}.{}{}", tenths.min(9), units[power]),
        _ => format!("{whole}{}", units[power]),
    }
}

async fn fetch(tenant: &str, backup: &str, context: &Context) -> Done {
    let ui = &context.ui;
    ui.progress("the copy is being brought and compared …");
    let answer = context.client.fetch_backup(tenant, backup).await?;
    let shown = one_line(backup);
    match context.output {
        Some(Format::Name) => ui.line(&shown),
        Some(format) => ui.print(&document(&answer, format)?),
        None => {
            let name = full_name(Kind::Tenant, tenant);
            ui.line(&match answer["fetched"].as_bool() {
                Some(false) => format!("backup \"{shown}\" of {name} is on the host already"),
                _ => format!("backup \"{shown}\" of {name} fetched"),
            });
        }
    }
    Ok(0)
}

async fn verify(tenant: &str, backup: &str, context: &Context) -> Done {
    let ui = &context.ui;
    ui.progress("the backup is being read …");
    let verdict = context.client.verify_backup(tenant, backup).await?;
    let good = verdict["good"].as_bool().unwrap_or_default();
    if let Some(format) = context.output {
        ui.print(&document(&verdict, format)?);
        return Ok(u8::from(!good));
    }
    let shown = one_line(backup);
    if good {
        let name = full_name(Kind::Tenant, tenant);
        ui.line(&format!("backup \"{shown}\" of {name} is good"));
        return Ok(0);
    }
    let text = |field: &str| one_line(verdict[field].as_str().unwrap_or_default());
    let (reason, message) = (text("reason"), text("message"));
    let message = format!("backup \"{shown}\" is not good ({reason}): {message}");
    Err(CommandError::failed(message).hint(format!("cbctl backup create {tenant} makes another")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1536, "1.5Ki"),
            (20 << 20, "20Mi"),
            ((1 << 30) + (1 << 29), "1.5Gi"),
            ((1 << 20) - 1, "1023Ki"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
