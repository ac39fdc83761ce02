//! `cbctl top`: what the services of tenants use of the processor and of
//! memory, from their control groups, and what tenants have on disk. One
//! question to the operator, however many tenants there are.

use clap::ValueEnum;
use serde_json::json;

use super::follow::tenant;
use crate::cli::{Context, Done};
use crate::client::changes::{Measure, ServiceUsage, TenantUsage};
use crate::error::CommandError;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document};

/// What stands where the host does not account for something.
const UNKNOWN: &str = "<unknown>";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "CPU is in thousandths of one processor, over the last half second. MEMORY is without page
cache that can be dropped. Where the host's control groups do not account for one of them it
is <unknown>. DISK is what the tenant had when it was last looked at, and LIMIT what it may
have.

Examples:
  cbctl top
  cbctl top ky04 oh09 --services
  cbctl top --sort-by memory"
)]
pub(crate) struct Args {
    /// Only these tenants
    #[arg(value_name = "TENANT", add = crate::complete::tenants())]
    tenants: Vec<String>,
    /// A line for each service
    #[arg(long)]
    services: bool,
    /// Sort by this, highest first
    #[arg(long, value_enum, value_name = "WHAT")]
    sort_by: Option<By>,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The processor
    Cpu,
    /// Memory
    Memory,
    /// The disk; with --services no line has it
    Disk,
}

/// One line: name, service if there is a line for each, and what is used.
struct Row {
    tenant: String,
    service: Option<String>,
    cpu: Option<u64>,
    memory: Option<u64>,
    /// What the tenant has on disk, and what it may have.
    disk: (Option<u64>, Option<u64>),
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let mut usage = context.client.usage(Measure::All).await?;
    if !args.tenants.is_empty() {
        let names = args.tenants.iter().map(|word| tenant(word));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = names
            .iter()
            .find(|name| usage.iter().all(|usage| usage.tenant != **name))
        {
            let message = format!("Error from server (NotFound): tenants \"{name}\" not found");
            return Err(CommandError::said_by_server(message));
        }
        usage.retain(|usage| names.contains(&usage.tenant));
    }
    if let Some(format) = context.output {
        context
            .ui
            .print(&document(&json!({"items": usage}), format)?);
        return Ok(0);
    }
    let rows = rows(&usage, args);
    if rows.is_empty() {
        context.ui.note("No tenants found");
    } else {
        context
            .ui
            .print(&table(&rows, args.services).render(!args.no_headers));
    }
    Ok(0)
}

fn rows(usage: &[TenantUsage], args: &Args) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for of_tenant in usage {
        let TenantUsage {
            tenant, services, ..
        } = of_tenant;
        if args.services {
            rows.extend(services.iter().map(|of| Row {
                tenant: tenant.clone(),
                service: Some(of.name.clone()),
                cpu: of.cpu_millicores,
                memory: of.memory_bytes,
                disk: (None, None),
            }));
        } else {
            rows.push(Row {
                tenant: tenant.clone(),
                service: None,
                cpu: sum(services, |of| of.cpu_millicores),
                memory: sum(services, |of| of.memory_bytes),
                disk: (of_tenant.disk_bytes, of_tenant.disk_limit_bytes),
            });
        }
    }
    match args.sort_by {
        Some(By::Cpu) => rows.sort_by_key(|row| std::cmp::Reverse(row.cpu)),
        Some(By::Memory) => rows.sort_by_key(|row| std::cmp::Reverse(row.memory)),
        Some(By::Disk) => rows.sort_by_key(|row| std::cmp::Reverse(row.disk.0)),
        None => {}
    }
    rows
}

/// The sum of what is known; nothing if nothing is.
fn sum(services: &[ServiceUsage], of: impl Fn(&ServiceUsage) -> Option<u64>) -> Option<u64> {
    services.iter().filter_map(of).reduce(|a, b| a + b)
}

fn table(rows: &[Row], services: bool) -> Table {
    let mut table = if services {
        Table::new(["TENANT", "SERVICE", "CPU(m)", "MEMORY"])
    } else {
        Table::new(["TENANT", "CPU(m)", "MEMORY", "DISK", "LIMIT"])
    };
    for row in rows {
        let cpu = row.cpu.map_or_else(|| UNKNOWN.into(), |n| format!("{n}m"));
        let memory = row.memory.map_or_else(|| UNKNOWN.into(), mebibytes);
        let mut cells = vec![row.tenant.clone()];
        cells.extend(row.service.clone());
        cells.extend([cpu, memory]);
        if !services {
            let (used, limit) = row.disk;
            cells.push(used.map_or_else(|| UNKNOWN.into(), mebibytes));
            cells.push(or_none(limit.map(mebibytes)));
        }
        table.row(cells);
    }
    table
}

/// Rounded up, as kubectl writes memory.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Vec<TenantUsage> {
        let of = |name: &str, cpu, memory| ServiceUsage {
            name: name.into(),
            unit: String::new(),
            cpu_millicores: cpu,
            memory_bytes: memory,
        };
        let tenant = |name: &str, services| TenantUsage {
            tenant: name.into(),
            services,
            disk_bytes: (name == "a").then_some(5 << 20),
            disk_limit_bytes: (name == "a").then_some(20 << 20),
        };
        vec![
            tenant(
                "a",
                vec![
                    of("api", Some(1), Some(3 << 20)),
                    of("frontend", Some(2), None),
                ],
            ),
            tenant("b", vec![of("api", None, Some(9 << 20))]),
        ]
    }

    fn shown(services: bool, sort_by: Option<By>) -> String {
        let args = Args {
            tenants: vec![],
            services,
            sort_by,
            no_headers: true,
        };
        table(&rows(&usage(), &args), services).render(false)
    }

    #[test]
    fn what_is_not_accounted_for_is_unknown_and_not_zero() {
        assert_eq!(
            shown(false, None),
            "a     3m          3Mi   5Mi         20Mi\nb     <unknown>   9Mi   <unknown>   <none>\n"
        );
        assert_eq!(
            shown(true, Some(By::Memory)),
            "b     api        <unknown>   9Mi\n\
             a     api        1m          3Mi\n\
             a     frontend   2m          <unknown>\n"
        );
    }
}
