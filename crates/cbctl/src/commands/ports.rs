//! `cbctl ports`: which tenant's service has which port.

use cb_core::api::{Kind, PortRange};
use serde_json::{Value, json};

use crate::cli::{Context, Done};
use crate::object::Object;
use crate::output::table::{Table, or_none};
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl ports
  cbctl ports -l ring=canary -o json

A slot is one of the equal parts of the Host's port range. <none>: the port is
outside of the range.")]
pub(crate) struct Args {
    /// Only tenants with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

/// A port in use.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    port: u16,
    tenant: String,
    service: String,
    /// The slot that it is in.
    slot: Option<u16>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Wide, Format::Json, Format::Yaml])?;
    let hosts = context.client.list(Kind::Host, None).await?;
    let selector = args.selector.as_deref();
    let tenants = context.client.list(Kind::Tenant, selector).await?;
    let ports = ports(&tenants, hosts.first().and_then(range).as_ref());
    match context.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let items: Vec<Value> = ports.iter().map(Port::value).collect();
            context.ui.print(&document(&items.into(), format)?);
        }
        _ if ports.is_empty() => context.ui.note("No ports found"),
        _ => {
            let mut table = Table::new(["PORT", "TENANT", "SERVICE", "SLOT"]);
            for of in ports {
                let slot = or_none(of.slot.map(|slot| slot.to_string()));
                table.row(vec![of.port.to_string(), of.tenant, of.service, slot]);
            }
            context.ui.print(&table.render(!args.no_headers));
        }
    }
    Ok(0)
}

impl Port {
    fn value(&self) -> Value {
        json!({
            "port": self.port, "tenant": self.tenant, "service": self.service, "slot": self.slot,
        })
    }
}

/// The range of a Host; `None` if it is not one that this version can read.
fn range(host: &Object) -> Option<PortRange> {
    serde_json::from_value(host.value().pointer("/spec/ports")?.clone()).ok()
}

/// The slot of the range that a port is in.
fn slot(port: u16, range: &PortRange) -> Option<u16> {
    let slot = port.checked_sub(range.base.0)?.checked_div(range.stride)?;
    (slot < range.slots).then_some(slot)
}

/// The ports in order.
fn ports(tenants: &[Object], range: Option<&PortRange>) -> Vec<Port> {
    let mut out = Vec::new();
    for tenant in tenants {
        for (service, port) in tenant.tenant_status().ports {
            out.push(Port {
                port,
                tenant: tenant.name().to_owned(),
                service,
                slot: range.and_then(|range| slot(port, range)),
            });
        }
    }
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_outside_of_the_range_has_no_slot() {
        let range = PortRange {
            slots: 2,
            ..PortRange::default()
        };
        let at = |port| slot(port, &range);
        assert_eq!(
            (at(32300), at(32309), at(32310)),
            (Some(0), Some(0), Some(1))
        );
        assert_eq!((at(32299), at(32320), at(80)), (None, None, None));
    }
}
