//! `cbctl import`: a host that another tool or a person set up, as manifests,
//! and taken over tenant by tenant on consent.
//!
//! ```text
//! scan (units, sites, .env) ─▶ describe (manifests) ─▶ judge (what it costs)
//!                                     script (what a person runs first) ◀─┤
//!                                                         take_over (API) ◀─┘
//! ```
//!
//! It reads files of this machine and changes nothing without `--adopt` or
//! `--all`. Values of environment variables are printed only of those that the
//! command line names (law 11).

mod describe;
mod judge;
mod scan;
mod script;
mod take_over;

use std::path::PathBuf;

use cb_core::types::ObjectName;

use super::plural;
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::output::{Format, document};
use judge::Cost;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It looks for units TENANT-SERVICE.service that carry no mark of the operator, for the sites
that pass to their ports and for their environment. The manifests go to standard output, what
they cost and what cannot be known to standard error.

Every variable that is not the operator's becomes a secret, in a file under /etc/cb/secrets that
root alone can read, unless --plain names it: which ones are secrets cannot be known.

A service goes on without a restart if user, folder, command and environment are as the operator
would have them. Its sandbox and limits are then those of the new unit from its next start on.

A tenant whose database, uploads, user or release are elsewhere is brought where the operator
has them by the commands of --script: they stop its services, move, start them again, and put
everything back if they do not come up. Then it is taken over without another restart.

Examples:
  cbctl import
  cbctl import --plain MODE,SMTP_HOST --health /health >manifests.yaml
  cbctl import --script ky04 >ky04.sh
  cbctl import --adopt ky04
  cbctl import --all"
)]
pub(crate) struct Args {
    /// The services that every tenant has, those of the same name behind its units
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "api,frontend"
    )]
    services: Vec<ObjectName>,
    /// The name of the Application; one that the operator has is used as it is
    #[arg(long, value_name = "NAME", default_value = "cbapp")]
    application: ObjectName,
    /// The version, if it cannot be read from the environment or the folder
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// The path of every service's health check, which no unit says
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// Variables that are no secrets
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    plain: Vec<String>,
    /// The file of the Host
    #[arg(long, value_name = "FILE", default_value = "/etc/cb/host.yaml")]
    host: PathBuf,
    /// Take these tenants over
    #[arg(
        long,
        value_name = "TENANT",
        value_delimiter = ',',
        conflicts_with = "all"
    )]
    adopt: Vec<String>,
    /// Take all tenants over that nothing is in the way of
    #[arg(long)]
    all: bool,
    /// Print the shell commands that bring this tenant where the operator has it
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["adopt", "all"])]
    script: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let host = super::render::host_of(&args.host)?;
    let found = scan::scan(&host, &args.services)?;
    for complaint in &found.complaints {
        context.ui.note(&format!("warning: {complaint}"));
    }
    if found.tenants.is_empty() {
        let names: Vec<&str> = args.services.iter().map(AsRef::as_ref).collect();
        let message = format!("there are no units of tenants in {}", host.spec.paths.units);
        return Err(CommandError::failed(message).hint(format!(
            "TENANT-{}.service without the operator's mark are looked for; --services names others",
            names.join(".service and TENANT-")
        )));
    }
    let known = match context
        .client
        .find(cb_core::api::Kind::Application, args.application.as_str())
        .await
    {
        Ok(known) => known,
        // Without an operator the manifests can still be made.
        Err(_) if args.adopt.is_empty() && !args.all => None,
        Err(error) => return Err(error.into()),
    };
    let imported = describe::describe(&found, &host, args, known.as_ref())?;
    if let Some(name) = &args.script {
        context.ui.print(script(name, &imported)?);
        return Ok(0);
    }
    let wanted = wanted(args, &imported)?;
    if wanted.is_empty() && !args.all {
        let objects = imported.objects();
        match context.output {
            Some(Format::Json) => {
                let text = document(&serde_json::json!({"items": objects}), Format::Json)?;
                context.ui.print(&text);
            }
            _ => {
                for object in &objects {
                    context.ui.print("---\n");
                    context.ui.print(&document(object, Format::Yaml)?);
                }
            }
        }
        report(&imported, context);
        return Ok(0);
    }
    report(&imported, context);
    take_over::all(&imported, &wanted, context).await
}

/// The tenants that are to be taken over.
fn wanted<'a>(
    args: &Args,
    imported: &'a describe::Imported,
) -> Result<Vec<&'a describe::ImportedTenant>, CommandError> {
    if args.all {
        let free = imported.tenants.iter();
        return Ok(free
            .filter(|tenant| !matches!(tenant.cost, Cost::InTheWay(_)))
            .collect());
    }
    args.adopt
        .iter()
        .map(|name| named(name, imported))
        .collect()
}

fn named<'a>(
    name: &str,
    imported: &'a describe::Imported,
) -> Result<&'a describe::ImportedTenant, CommandError> {
    let mut tenants = imported.tenants.iter();
    let known = tenants.find(|tenant| tenant.name.as_str() == name);
    known.ok_or_else(|| CommandError::failed(format!("no tenant \"{name}\" was found")))
}

/// The commands that move what is one tenant's.
fn script<'a>(name: &str, imported: &'a describe::Imported) -> Result<&'a str, CommandError> {
    let tenant = named(name, imported)?;
    if tenant.cost == Cost::Nothing {
        let message = format!("nothing of {name} has to be moved");
        let hint = format!("take it over: `cbctl import --adopt {name}`");
        return Err(CommandError::failed(message).hint(hint));
    }
    let script = tenant.script.as_deref();
    script.map_err(|why| CommandError::failed(format!("{name}: {why}")))
}

/// What it costs, and what could not be known.
fn report(imported: &describe::Imported, context: &Context) {
    let ui = &context.ui;
    let found = plural(imported.tenants.len(), "tenant");
    ui.note(&format!("# {found} found"));
    for tenant in &imported.tenants {
        ui.note(&format!("# {}: {}", tenant.name, tenant.cost.headline()));
        for line in tenant.cost.details() {
            ui.note(&format!("#   {line}"));
        }
        if matches!(tenant.cost, Cost::InTheWay(_)) {
            let hint = match &tenant.script {
                Ok(_) => format!("`--script {}` prints the commands that do it", tenant.name),
                Err(why) => why.clone(),
            };
            ui.note(&format!("#   hint: {hint}"));
        }
        for line in &tenant.unknown {
            ui.note(&format!("#   note: {line}"));
        }
    }
    for line in &imported.unknown {
        ui.note(&format!("# not known: {line}"));
    }
}
