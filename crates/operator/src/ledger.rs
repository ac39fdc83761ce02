//! The one place that gives out ports, to one tenant at a time.
//!
//! What a tenant was given is reserved here from that moment, and recorded by
//! its pass before anything uses it. The rules are `cb_core::ports`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cb_core::adopt;
use cb_core::api::{PortRange, Service};
use cb_core::ports::{PortError, Taken, assign};
use cb_core::record::{Phase, Ports, Record};
use cb_core::types::TenantName;
use cb_host::PortsInUse;

/// Who has which ports.
#[derive(Debug, Default)]
pub struct Ledger {
    given: Mutex<BTreeMap<TenantName, Ports>>,
}

/// What a tenant needs ports for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The host's range.
    pub range: &'a PortRange,
    /// The services.
    pub services: &'a [Service],
    /// The tenant's user id: its own sockets are not in its way.
    pub uid: Option<u32>,
}

impl Ledger {
    /// The ledger after a start: what the records say and, for tenants that
    /// have no record, what their units say (`recovered`).
    #[must_use]
    pub fn new(
        records: &BTreeMap<TenantName, Record>,
        recovered: BTreeMap<TenantName, Ports>,
    ) -> Self {
        let mut given = recovered;
        for (name, record) in records {
            if !record.ports.is_empty() {
                given.insert(name.clone(), record.ports.clone());
            }
        }
        Self {
            given: Mutex::new(given),
        }
    }

    /// Whether the tenant has all ports it needs, so that no look at the host
    /// is needed.
    #[must_use]
    pub fn settled(&self, record: &Record, services: &[Service]) -> Option<Ports> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = given.get(record.name())?;
        let fixed = &record.tenant.spec.ports;
        let as_wanted = services.iter().all(|service| {
            let port = ports.by_service.get(&service.name);
            port.is_some_and(|port| {
                fixed
                    .get(&service.name)
                    .is_none_or(|fixed| fixed.0 == *port)
            })
        });
        // A service that lost its fixed port gets one from the slot.
        let unfixed = services
            .iter()
            .filter(|service| !fixed.contains_key(&service.name));
        let same = ports.by_service.len() == services.len() && as_wanted;
        (same && (ports.slot.is_some() || unfixed.count() == 0)).then(|| ports.clone())
    }

    /// Gives a tenant its ports.
    ///
    /// # Errors
    /// A fixed port is held by something else, or no slot is free; the tenant
    /// keeps what it has.
    pub fn give(
        &self,
        record: &Record,
        request: Request<'_>,
        all: &BTreeMap<TenantName, Record>,
        in_use: &PortsInUse,
    ) -> Result<Ports, PortError> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = try_give(&given, record, request, all, in_use)?;
        given.insert(record.name().clone(), ports.clone());
        Ok(ports)
    }

    /// Gives ports to the tenants that have none and come before this one by
    /// name. Tenants that are accepted together so get their slots in the order
    /// of their names, and not in the order in which their passes happen to
    /// run. `services` are those of a tenant; a tenant that cannot have its
    /// ports is told so by its own pass.
    pub fn give_those_before<'s>(
        &self,
        name: &TenantName,
        range: &PortRange,
        all: &BTreeMap<TenantName, Record>,
        services: impl Fn(&Record) -> Option<&'s [Service]>,
        in_use: &PortsInUse,
    ) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        for (other, record) in all.range::<TenantName, _>(..name) {
            if record.phase != Phase::Active || given.contains_key(other) {
                continue;
            }
            let Some(services) = services(record) else {
                continue;
            };
            let request = Request {
                range,
                services,
                uid: None,
            };
            if let Ok(ports) = try_give(&given, record, request, all, in_use) {
                given.insert(other.clone(), ports);
            }
        }
    }

    /// The ports that [`Ledger::give`] would give, without giving them.
    ///
    /// # Errors
    /// As [`Ledger::give`].
    pub fn preview(
        &self,
        record: &Record,
        request: Request<'_>,
        all: &BTreeMap<TenantName, Record>,
        in_use: &PortsInUse,
    ) -> Result<Ports, PortError> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        try_give(&given, record, request, all, in_use)
    }

    /// Gives a tenant back the ports that it had before an operation.
    pub fn put_back(&self, name: &TenantName, ports: &Ports) {
        self.given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), ports.clone());
    }

    /// Takes back the ports of a tenant that is gone.
    pub fn release(&self, name: &TenantName) {
        self.given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

fn try_give(
    given: &BTreeMap<TenantName, Ports>,
    record: &Record,
    request: Request<'_>,
    all: &BTreeMap<TenantName, Record>,
    in_use: &PortsInUse,
) -> Result<Ports, PortError> {
    let name = record.name();
    let mut taken = Taken {
        bound: in_use.bound.clone(),
        nginx: in_use.nginx.clone(),
        ..Taken::default()
    };
    if !adopt::listed(record).is_empty() {
        // The site that refers to them is its own, and is taken over.
        let fixed = record.tenant.spec.ports.values();
        for port in fixed {
            taken.nginx.remove(&port.0);
        }
    }
    for (other, ports) in given.iter().filter(|(other, _)| *other != name) {
        taken
            .slots
            .extend(ports.slot.map(|slot| (slot, other.clone())));
        taken
            .records
            .extend(ports.by_service.values().map(|port| (*port, other.clone())));
    }
    // A fixed port is its tenant's even before that tenant had its turn.
    for (other, record) in all.iter().filter(|(other, _)| *other != name) {
        if record.phase == Phase::Active {
            let fixed = record.tenant.spec.ports.values();
            fixed.for_each(|port| {
                taken.records.entry(port.0).or_insert_with(|| other.clone());
            });
        }
        // What it goes back to if its operation fails stays its own.
        let before = record.operation.iter().map(|operation| &operation.ports);
        for port in before.flat_map(|ports| ports.by_service.values()) {
            taken.records.entry(*port).or_insert_with(|| other.clone());
        }
    }
    let current = given.get(name).cloned().unwrap_or_default();
    let fixed = &record.tenant.spec.ports;
    assign(
        request.range,
        request.services,
        fixed,
        &current,
        request.uid,
        &taken,
    )
}

#[cfg(test)]
mod tests {
    use cb_core::api::Tenant;

    use super::*;

    fn record(name: &str) -> (TenantName, Record) {
        let tenant: Tenant = serde_yaml::from_str(&format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: {name}}}, \
             spec: {{application: cbapp, version: v1}}}}"
        ))
        .unwrap();
        let record = Record::new(tenant, format!("{name}.yaml"));
        (record.name().clone(), record)
    }

    #[test]
    fn slots_follow_the_names_whichever_pass_comes_first() {
        let all: BTreeMap<_, _> = ["c", "a", "b"].map(record).into();
        let services: Vec<Service> =
            serde_yaml::from_str("[{name: api, command: bin/api, portOffset: 1}]").unwrap();
        let (range, in_use) = (PortRange::default(), PortsInUse::default());
        let ledger = Ledger::new(&BTreeMap::new(), BTreeMap::new());
        let mut slots = BTreeMap::new();
        for name in ["c", "b", "a"] {
            let record = &all[name];
            let of = |_: &Record| Some(services.as_slice());
            ledger.give_those_before(record.name(), &range, &all, of, &in_use);
            let request = Request {
                range: &range,
                services: &services,
                uid: None,
            };
            let ports = ledger.give(record, request, &all, &in_use).unwrap();
            slots.insert(name, ports.slot.unwrap());
        }
        assert_eq!(slots, [("a", 0), ("b", 1), ("c", 2)].into());
    }
}
