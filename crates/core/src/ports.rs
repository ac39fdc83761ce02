//! The port ledger: which ports a tenant gets.
//!
//! A tenant gets the lowest free slot and keeps it for life. A slot is free if
//! none of the ports it would use is in another tenant's record, bound by a
//! socket, or named in nginx's configuration; otherwise it is skipped and the
//! reason kept. A fixed port that cannot be had is an error, not a detour.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{PortNumber, PortRange, Service};
use crate::record::Ports;
use crate::types::{ObjectName, TenantName};

/// What holds ports on the host already.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// The ports in other tenants' records.
    pub records: BTreeMap<u16, TenantName>,
    /// The slots in other tenants' records.
    pub slots: BTreeMap<u16, TenantName>,
    /// Ports that sockets are bound to, with the sockets' owner.
    pub bound: BTreeMap<u16, BTreeSet<u32>>,
    /// Ports that nginx's configuration refers to outside our own sites.
    pub nginx: BTreeSet<u16>,
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Another tenant's record.
    Tenant(TenantName),
    /// A socket of this user id.
    Socket(u32),
    /// nginx's configuration.
    Nginx,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Tenant(name) => write!(f, "given to tenant `{name}`"),
            Holder::Socket(uid) => write!(f, "bound by a process of user id {uid}"),
            Holder::Nginx => f.write_str("named in nginx's configuration"),
        }
    }
}

/// Why a tenant cannot have its ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A fixed port is held by something else.
    #[error(
        "port {port}, fixed for service `{service}` by spec.ports, is {holder}; free it or choose another"
    )]
    FixedHeld {
        /// The service.
        service: ObjectName,
        /// The port.
        port: u16,
        /// What holds it.
        holder: Holder,
    },
    /// No slot is free.
    #[error("none of the {slots} slots from port {base} is free; raise ports.slots in the Host")]
    Exhausted {
        /// The number of slots.
        slots: u16,
        /// The first port of the range.
        base: u16,
    },
}

/// Gives a tenant its ports: what it already has stays, whatever became of the
/// Application's offsets and of the range; what is missing is taken from its
/// slot. `uid` is the tenant's own user: a port that its own
/// service has bound is not held by something else.
pub fn assign(
    range: &PortRange,
    services: &[Service],
    fixed: &BTreeMap<ObjectName, PortNumber>,
    current: &Ports,
    uid: Option<u32>,
    taken: &Taken,
) -> Result<Ports, PortError> {
    let mut by_service = BTreeMap::new();
    let mut from_slot = Vec::new();
    for service in services {
        match fixed.get(&service.name) {
            Some(port) => {
                let port = port.0;
                let had = current.by_service.get(&service.name) == Some(&port);
                if let Some(holder) = holder(port, uid, taken, had) {
                    return Err(PortError::FixedHeld {
                        service: service.name.clone(),
                        port,
                        holder,
                    });
                }
                by_service.insert(service.name.clone(), port);
            }
            None => from_slot.push(service),
        }
    }
    let own_fixed: BTreeSet<u16> = by_service.values().copied().collect();
    let mut skipped = current.skipped.clone();
    let slot = match current.slot {
        slot @ Some(_) => slot,
        None if from_slot.is_empty() => None,
        None => Some(lowest_free(
            range,
            &from_slot,
            &own_fixed,
            uid,
            taken,
            &mut skipped,
        )?),
    };
    if let Some(slot) = slot {
        let kept = from_slot.iter().filter_map(|service| {
            let port = *current.by_service.get(&service.name)?;
            (current.slot.is_some() && !own_fixed.contains(&port))
                .then(|| (service.name.clone(), port))
        });
        by_service.extend(kept.collect::<Vec<_>>());
        for service in from_slot {
            if !by_service.contains_key(&service.name) {
                let port = free_port(range, slot, service, &by_service, uid, taken)?;
                by_service.insert(service.name.clone(), port);
            }
        }
    }
    Ok(Ports {
        slot,
        by_service,
        skipped,
    })
}

fn lowest_free(
    range: &PortRange,
    services: &[&Service],
    own_fixed: &BTreeSet<u16>,
    uid: Option<u32>,
    taken: &Taken,
    skipped: &mut Vec<String>,
) -> Result<u16, PortError> {
    for slot in 0..range.slots {
        if taken.slots.contains_key(&slot) {
            continue;
        }
        let ports = services.iter().map(|service| port_in(range, slot, service));
        let held = ports
            .filter(|port| !own_fixed.contains(port))
            .find_map(|port| {
                let holder = holder(port, uid, taken, false)?;
                Some(format!("slot {slot} was skipped: port {port} is {holder}"))
            });
        let collides = services
            .iter()
            .any(|service| own_fixed.contains(&port_in(range, slot, service)));
        match held {
            Some(held) => skipped.push(held),
            None if collides => {}
            None => return Ok(slot),
        }
    }
    Err(PortError::Exhausted {
        slots: range.slots,
        base: range.base.0,
    })
}

/// The service's port in the tenant's slot. Where that is not free (its
/// Application's offsets, or the range, may have changed since the slot was
/// given), the lowest free one that a slot has for it.
fn free_port(
    range: &PortRange,
    slot: u16,
    service: &Service,
    own: &BTreeMap<ObjectName, u16>,
    uid: Option<u32>,
    taken: &Taken,
) -> Result<u16, PortError> {
    let others = (0..range.slots).filter(|other| !taken.slots.contains_key(other));
    std::iter::once(slot)
        .chain(others)
        .map(|slot| port_in(range, slot, service))
        .find(|port| {
            !own.values().any(|own| own == port) && holder(*port, uid, taken, false).is_none()
        })
        .ok_or(PortError::Exhausted {
            slots: range.slots,
            base: range.base.0,
        })
}

/// The first port of a slot plus the service's offset.
fn port_in(range: &PortRange, slot: u16, service: &Service) -> u16 {
    // Validation keeps base + stride × slots within 65535.
    range
        .base
        .0
        .saturating_add(slot.saturating_mul(range.stride))
        .saturating_add(service.port_offset)
}

/// Who else holds the port. A port that the tenant already `had` is its own
/// even while something else is bound to it: ports are stable for life, and
/// the intruder is reported at the service.
fn holder(port: u16, uid: Option<u32>, taken: &Taken, had: bool) -> Option<Holder> {
    if let Some(tenant) = taken.records.get(&port) {
        return Some(Holder::Tenant(tenant.clone()));
    }
    if had {
        return None;
    }
    if let Some(foreign) = taken
        .bound
        .get(&port)
        .and_then(|uids| uids.iter().find(|&&u| Some(u) != uid))
    {
        return Some(Holder::Socket(*foreign));
    }
    taken.nginx.contains(&port).then_some(Holder::Nginx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn services() -> Vec<Service> {
        [("frontend", 0), ("api", 1)]
            .into_iter()
            .map(|(name, port_offset)| Service {
                name: name.parse().unwrap(),
                command: "bin/x".parse().unwrap(),
                args: vec![],
                port_offset,
                env: BTreeMap::new(),
                health_check: None,
                sandbox: crate::api::Sandbox::default(),
            })
            .collect()
    }

    fn give(current: &Ports, fixed: &[(&str, u16)], taken: &Taken) -> Result<Ports, PortError> {
        let fixed = fixed
            .iter()
            .map(|(n, p)| (n.parse().unwrap(), PortNumber(*p)))
            .collect();
        assign(
            &PortRange::default(),
            &services(),
            &fixed,
            current,
            None,
            taken,
        )
    }

    fn port(ports: &Ports, service: &str) -> u16 {
        ports.by_service[service]
    }

    #[test]
    fn the_first_tenant_has_32300_and_32301_and_the_second_32310_and_32311() {
        let first = give(&Ports::default(), &[], &Taken::default()).unwrap();
        assert_eq!(
            (port(&first, "frontend"), port(&first, "api")),
            (32300, 32301)
        );
        let mut taken = Taken::default();
        taken.slots.insert(0, "one".parse().unwrap());
        let second = give(&Ports::default(), &[], &taken).unwrap();
        assert_eq!(
            (port(&second, "frontend"), port(&second, "api")),
            (32310, 32311)
        );
        assert!(second.skipped.is_empty());
    }

    #[test]
    fn a_slot_that_something_else_holds_is_skipped_and_said_so() {
        let mut taken = Taken::default();
        taken.bound.insert(32301, BTreeSet::from([0]));
        taken.nginx.insert(32310);
        let given = give(&Ports::default(), &[], &taken).unwrap();
        assert_eq!(given.slot, Some(2));
        assert_eq!(
            given.skipped,
            [
                "slot 0 was skipped: port 32301 is bound by a process of user id 0",
                "slot 1 was skipped: port 32310 is named in nginx's configuration",
            ]
        );
    }

    /// What a tenant has stays, however the Application and the range change;
    /// a service that is new never gets a port that another has.
    #[test]
    fn ports_stay_when_offsets_and_the_range_change() {
        let had = give(&Ports::default(), &[], &Taken::default()).unwrap();
        let mut wanted = services();
        wanted[1].port_offset = 5;
        let mut worker = wanted[0].clone();
        worker.name = "worker".parse().unwrap();
        worker.port_offset = 1;
        wanted.push(worker);
        let mut taken = Taken::default();
        let again = |range: &PortRange, taken: &Taken| {
            assign(range, &wanted, &BTreeMap::new(), &had, None, taken).unwrap()
        };
        let range = PortRange::default();
        let given = again(&range, &taken);
        assert_eq!(
            (port(&given, "frontend"), port(&given, "api")),
            (32300, 32301)
        );
        // 32301 is `api`'s own by now.
        assert_eq!(port(&given, "worker"), 32311);

        // Slot 0 of the new range has a neighbour's ports.
        let range = PortRange {
            base: PortNumber(32310),
            ..range
        };
        taken.records.insert(32311, "two".parse().unwrap());
        taken.slots.insert(1, "two".parse().unwrap());
        let given = again(&range, &taken);
        assert_eq!(
            (port(&given, "frontend"), port(&given, "api")),
            (32300, 32301)
        );
        assert_eq!(port(&given, "worker"), 32331);
    }

    #[test]
    fn a_fixed_port_that_is_held_is_an_error() {
        let mut taken = Taken::default();
        taken.bound.insert(31000, BTreeSet::from([33]));
        let error = give(&Ports::default(), &[("api", 31000)], &taken).unwrap_err();
        assert!(error.to_string().contains("port 31000"), "{error}");
    }

    proptest! {
        #[test]
        fn ports_are_unique_and_stable(bound in prop::collection::btree_set(32300u16..32400, 0..60), tenants in 1usize..30) {
            let mut taken = Taken { bound: bound.iter().map(|p| (*p, BTreeSet::from([7]))).collect(), ..Taken::default() };
            let mut seen = BTreeSet::new();
            for n in 0..tenants {
                let name: TenantName = format!("t{n}").parse().unwrap();
                let given = give(&Ports::default(), &[], &taken).unwrap();
                for port in given.by_service.values() {
                    prop_assert!(seen.insert(*port));
                    prop_assert!(!bound.contains(port));
                }
                // Asking again changes nothing, whatever is bound by then.
                let again = give(&given, &[], &taken).unwrap();
                prop_assert_eq!(&given, &again);
                taken.slots.insert(given.slot.unwrap(), name.clone());
                taken.records.extend(given.by_service.values().map(|p| (*p, name.clone())));
            }
        }
    }
}
