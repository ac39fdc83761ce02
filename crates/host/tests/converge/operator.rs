//! A small operator: the pass over one tenant, with the record as its disk has
//! it. Saving the record is an effect, so that it can be cut off there.

use std::collections::BTreeSet;

use cb_core::api::{Application, Host as HostObject, Tenant};
use cb_core::desired::{Desired, Inputs};
use cb_core::observed::{Observed, Scope};
use cb_core::plan::{Action, Plan, converge, remove};
use cb_core::ports::{Taken, assign};
use cb_core::record::{Phase, Ports, Record, Recovered, Started, recover};
use cb_host::Host;
use cb_host::memory::MemoryHost;
use futures::FutureExt as _;

/// What there should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tenant: Tenant,
    pub(crate) application: Application,
    pub(crate) host: HostObject,
}

/// Why a pass came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It was cut off.
    #[error("it was cut off")]
    Died,
    /// These steps failed.
    #[error("failed: {0:#?}")]
    Failed(Vec<String>),
    /// The first plan did not do: these are left.
    #[error("one plan did not do; there is left: {0:#?}")]
    NotDone(Vec<String>),
}

/// A host and what the operator has saved of one tenant.
pub(crate) struct World {
    pub(crate) host: MemoryHost,
    pub(crate) saved: Option<Record>,
}

/// Nothing in memory waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("a host in memory answers at once")
}

impl World {
    pub(crate) fn fork(&self) -> Self {
        Self {
            host: self.host.fork(),
            saved: self.saved.clone(),
        }
    }

    fn save(&mut self, record: &Record) -> Result<(), Ended> {
        if self.saved.as_ref() != Some(record) {
            self.host
                .effect("save the record")
                .map_err(|_| Ended::Died)?;
            self.saved = Some(record.clone());
        }
        Ok(())
    }

    /// One pass for a tenant with a manifest. Returns the plan that was left
    /// at its end.
    pub(crate) fn pass(&mut self, wanted: &Wanted) -> Result<Plan, Ended> {
        let file = "ky04.yaml".to_owned();
        let tenant = &wanted.tenant;
        let mut record = self
            .saved
            .clone()
            .unwrap_or_else(|| Record::new(tenant.clone(), file.clone()));
        record.accept(tenant, &file);
        self.save(&record)?;
        let scope = Scope::of(&record, Some(&wanted.application), &wanted.host);
        let observed = self.observe(&scope)?;
        let ports = self.ports(&record, wanted, &observed);
        let first = plan(wanted, &ports, &observed, &record);
        if !first.to_execute().is_empty() {
            self.apply(&first, &mut record, observed.i360)?;
            self.host.settle();
        }
        let observed = self.observe(&scope)?;
        let second = plan(wanted, &ports, &observed, &record);
        if !second.to_execute().is_empty() {
            return Err(Ended::NotDone(words(&second)));
        }
        if second.is_empty() {
            record.applied = Some(desired(wanted, &ports, &observed).digest());
            self.save(&record)?;
        }
        Ok(second)
    }

    /// The desired state for the ports that the tenant has now.
    pub(crate) fn desired(&self, wanted: &Wanted) -> Desired {
        let new = || Record::new(wanted.tenant.clone(), String::new());
        let mut record = self.saved.clone().unwrap_or_else(new);
        record.tenant = wanted.tenant.clone();
        let scope = Scope::of(&record, Some(&wanted.application), &wanted.host);
        let observed = now(self.host.observe(&scope)).expect("nobody cut it off");
        desired(wanted, &self.ports(&record, wanted, &observed), &observed)
    }

    /// One pass for a tenant that is removed.
    pub(crate) fn removal(&mut self, phase: Phase, wanted: &Wanted) -> Result<(), Ended> {
        let Some(mut record) = self.saved.clone() else {
            return Ok(());
        };
        if record.phase == Phase::Active {
            record.phase = phase;
            self.save(&record)?;
        }
        let scope = Scope::of(&record, None, &wanted.host);
        let observed = self.observe(&scope)?;
        let plan = remove(&observed, &record, &wanted.host);
        self.apply(&plan, &mut record, false)
    }

    fn observe(&self, scope: &Scope) -> Result<Observed, Ended> {
        now(self.host.observe(scope)).map_err(|_| Ended::Died)
    }

    /// What the tenant's record or, without one, its units say; what is
    /// missing is given out.
    fn ports(&self, record: &Record, wanted: &Wanted, observed: &Observed) -> Ports {
        let mut current = record.ports.clone();
        if current.is_empty() {
            for unit in &observed.owned_units {
                let path = cb_core::layout::Layout::new(&wanted.host.spec).unit_file(unit);
                let text = self.host.content(&path).unwrap_or_default();
                if let Some(Recovered {
                    service,
                    slot,
                    port,
                    ..
                }) = recover(text.as_bytes())
                {
                    current.slot = current.slot.or(slot);
                    current.by_service.insert(service, port);
                }
            }
        }
        let services = &wanted.application.spec.services;
        let fixed = &wanted.tenant.spec.ports;
        let settled = current.by_service.len() == services.len()
            && services.iter().all(|service| {
                let port = current.by_service.get(&service.name);
                port.is_some_and(|port| fixed.get(&service.name).is_none_or(|f| f.0 == *port))
            });
        let slotless = services
            .iter()
            .any(|service| !fixed.contains_key(&service.name));
        if settled && (current.slot.is_some() || !slotless) {
            return current;
        }
        let in_use = now(self.host.ports_in_use()).unwrap_or_default();
        let taken = Taken {
            bound: in_use.bound,
            nginx: in_use.nginx,
            ..Taken::default()
        };
        let uid = observed.user.map(|user| user.uid);
        assign(
            &wanted.host.spec.ports,
            services,
            fixed,
            &current,
            uid,
            &taken,
        )
        .expect("no scenario takes a fixed port or all slots")
    }

    fn apply(&mut self, plan: &Plan, record: &mut Record, i360: bool) -> Result<(), Ended> {
        let mut failed = BTreeSet::new();
        let mut problems = Vec::new();
        let name = record.name().clone();
        for step in plan.to_execute() {
            if step.aspect.is_blocked_by(&failed) {
                continue;
            }
            let started = |revision: &String, invocation_id: Option<String>| Started {
                revision: revision.clone(),
                invocation_id,
                i360,
            };
            match &step.action {
                Action::RecordPorts(ports) => record.ports = ports.clone(),
                Action::RecordStale(services) => {
                    for service in services {
                        // Also a service that nothing is recorded of.
                        let stale = started(&Record::STALE.to_owned(), None);
                        let known = record.services.entry(service.clone()).or_insert(stale);
                        Record::STALE.clone_into(&mut known.revision);
                    }
                }
                Action::RecordStarted {
                    service, revision, ..
                } => {
                    record
                        .services
                        .insert(service.clone(), started(revision, None));
                }
                Action::RecordRetained => {
                    record.phase = Phase::Retained;
                    record.ports = Ports::default();
                    record.services.clear();
                    record.applied = None;
                }
                Action::RemoveRecord => {
                    self.host
                        .effect("remove the record")
                        .map_err(|_| Ended::Died)?;
                    self.saved = None;
                    continue;
                }
                action => match now(self.host.execute(&name, action)) {
                    Ok(done) => {
                        if let Action::Start {
                            service, revision, ..
                        } = action
                        {
                            let started = started(revision, done.invocation_id);
                            record.services.insert(service.clone(), started);
                        }
                    }
                    Err(_) if self.host.is_cut_off() => return Err(Ended::Died),
                    Err(error) => {
                        failed.insert(step.aspect);
                        problems.push(format!("{action}: {error}"));
                    }
                },
            }
            self.save(record)?;
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Ended::Failed(problems))
        }
    }
}

fn desired(wanted: &Wanted, ports: &Ports, observed: &Observed) -> Desired {
    let Wanted {
        tenant,
        application,
        host,
    } = wanted;
    let secrets = &observed.secrets;
    Desired::of(Inputs {
        tenant,
        application,
        host,
        ports,
        secrets,
        certificates: &observed.certificates,
    })
    .expect("the objects fit")
}

fn plan(wanted: &Wanted, ports: &Ports, observed: &Observed, record: &Record) -> Plan {
    converge(
        &desired(wanted, ports, observed),
        ports,
        observed,
        record,
        &wanted.host,
    )
}

/// A plan in words.
pub(crate) fn words(plan: &Plan) -> Vec<String> {
    let steps = plan
        .steps
        .iter()
        .map(|step| format!("{} ({})", step.action, step.reason));
    steps
        .chain(
            plan.blocked
                .iter()
                .map(|b| format!("blocked: {}", b.message)),
        )
        .collect()
}
