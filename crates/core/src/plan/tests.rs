//! Scenarios of the planner; the properties over random states are tested
//! where a host can apply plans.

use std::collections::{BTreeMap, BTreeSet};

mod adopt;
mod disk;
mod drift;

use super::*;
use crate::api::{Application, DriftPolicy, Host, Tenant};
use crate::desired::{Desired, Inputs};
use crate::mark::Owner;
use crate::observed::{Observed, PathState, UnitState, User};
use crate::record::{Phase, Record, Started};
use crate::status::ProblemReason;

struct World {
    record: Record,
    host: Host,
    application: Application,
    observed: Observed,
}

fn new_world() -> World {
    let tenant: Tenant = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: ky04}, \
         spec: {application: cbapp, version: v1, domains: [ky04.example.org]}}",
    )
    .unwrap();
    let application = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Application, metadata: {name: cbapp}, \
         spec: {versions: [{name: v1, folder: {path: /srv/v1}}], \
         services: [{name: api, command: bin/api, portOffset: 1}, {name: frontend, command: bin/frontend, portOffset: 0}], \
         routes: [{path: /, service: frontend}]}}",
    )
    .unwrap();
    let host = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: one}}",
    )
    .unwrap();
    let record = Record::new(tenant, "ky04.yaml".into());
    World {
        record,
        host,
        application,
        observed: Observed::default(),
    }
}

impl World {
    /// A process of this user binds the port.
    fn binds(&mut self, port: u16, uid: u32) {
        let bound = std::sync::Arc::make_mut(&mut self.observed.bound);
        bound.insert(port, BTreeSet::from([uid]));
    }

    fn ports(&self) -> Ports {
        let by_service = [("api", 32301), ("frontend", 32300)];
        let by_service = by_service
            .map(|(name, port)| (name.parse().unwrap(), port))
            .into();
        Ports {
            slot: Some(0),
            by_service,
            skipped: vec![],
        }
    }

    fn desired(&self) -> Desired {
        Desired::of(Inputs {
            tenant: &self.record.tenant,
            application: &self.application,
            host: &self.host,
            ports: &self.ports(),
            secrets: &BTreeMap::new(),
            certificates: &self.observed.certificates,
        })
        .unwrap()
    }

    fn plan(&self) -> Plan {
        converge(
            &self.desired(),
            &self.ports(),
            &self.observed,
            &self.record,
            &self.host,
        )
    }

    fn put(&mut self, file: &ManagedFile) {
        let owner = Owner::of(file.content.as_bytes());
        let state = PathState::File {
            digest: file.digest(),
            owner,
            mode: file.mode,
            uid: 0,
            gid: 0,
        };
        self.observed.paths.insert(file.path.clone(), state);
    }

    /// The world after a complete pass.
    fn converged() -> Self {
        let mut world = new_world();
        let desired = world.desired();
        world.record.ports = world.ports();
        world.record.applied = Some(desired.digest());
        world.observed.user = Some(User { uid: 999, gid: 998 });
        world.observed.release = true;
        for folder in &desired.folders {
            let (uid, gid) = match folder.owner {
                FolderOwner::Root => (0, 0),
                FolderOwner::Tenant => (999, 998),
            };
            let state = PathState::Folder {
                mode: folder.mode,
                uid,
                gid,
            };
            world.observed.paths.insert(folder.path.clone(), state);
        }
        world.put(&desired.sysusers);
        world.put(&desired.env);
        world.put(desired.site.as_ref().unwrap());
        for service in &desired.services {
            world.put(&service.file);
            world.observed.owned_units.insert(service.unit.clone());
            world.observed.enabled.insert(service.unit.clone());
            world
                .observed
                .units
                .insert(service.unit.clone(), running("1"));
            let started = Started {
                revision: service.revision.clone(),
                invocation_id: Some("1".into()),
                i360: false,
            };
            world.record.services.insert(service.name.clone(), started);
        }
        world
    }
}

fn running(invocation: &str) -> UnitState {
    UnitState {
        active_state: "active".into(),
        sub_state: "running".into(),
        load_state: "loaded".into(),
        invocation_id: Some(invocation.into()),
        exit: None,
    }
}

fn shown(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|s| {
        format!(
            "{:?} {:?}: {} ({})\n",
            s.aspect, s.cause, s.action, s.reason
        )
    });
    let blocked = plan
        .blocked
        .iter()
        .map(|b| format!("blocked {:?} {:?}: {}\n", b.aspect, b.reason, b.message));
    let hold = plan.hold.iter().map(|hold| format!("hold {hold:?}\n"));
    steps.chain(blocked).chain(hold).collect()
}

/// Law 1: a second pass over a converged host does nothing.
#[test]
fn nothing_to_do_is_an_empty_plan() {
    let plan = World::converged().plan();
    assert!(plan.is_empty(), "{}", shown(&plan));
}

#[test]
fn a_new_tenant() {
    insta::assert_snapshot!(shown(&new_world().plan()));
}

#[test]
fn a_stopped_service_is_started_and_a_failed_one_is_reset_first() {
    let mut world = World::converged();
    world.observed.units.remove("ky04-frontend.service");
    world
        .observed
        .units
        .get_mut("ky04-api.service")
        .unwrap()
        .active_state = "failed".into();
    insta::assert_snapshot!(shown(&world.plan()));
}

/// Law 5: a reload that failed is made up for before anything is started.
#[test]
fn nothing_is_started_while_a_reload_is_owed() {
    let mut world = World::converged();
    world.observed.reload_owed = true;
    assert!(world.plan().is_empty());
    world.observed.units.remove("ky04-api.service");
    let kinds: Vec<_> = world.plan().steps.iter().map(|s| s.action.kind()).collect();
    assert_eq!(kinds, ["ReloadUnits", "Start"]);
}

#[test]
fn a_service_that_is_being_stopped_is_started_when_it_has_stopped() {
    let mut world = World::converged();
    let unit = world.observed.units.get_mut("ky04-api.service").unwrap();
    unit.active_state = "deactivating".into();
    assert!(world.plan().is_empty());
    world.observed.units.remove("ky04-api.service");
    assert_eq!(world.plan().steps.len(), 1);
}

#[test]
fn a_service_that_fails_again_and_again_waits() {
    let mut world = World::converged();
    world
        .observed
        .units
        .get_mut("ky04-api.service")
        .unwrap()
        .active_state = "failed".into();
    world
        .observed
        .backing_off
        .insert("ky04-api.service".into(), "next try in 40 s".into());
    let plan = world.plan();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.blocked[0].reason, ProblemReason::CrashLoop);
}

#[test]
fn a_changed_environment_restarts_the_services_in_order() {
    let mut world = World::converged();
    world
        .record
        .tenant
        .spec
        .env
        .insert("A".parse().unwrap(), "b".parse().unwrap());
    insta::assert_snapshot!(shown(&world.plan()));
}

/// Law 1 and 5: what an edited unit was started with is not forgotten between
/// putting the file right and the restart.
#[test]
fn an_edited_unit_is_put_right_and_restarted_only_if_it_ran_the_edit() {
    let mut world = World::converged();
    let unit = world.desired().services[0].file.path.clone();
    if let Some(PathState::File { digest, .. }) = world.observed.paths.get_mut(&unit) {
        *digest = "edited".into();
    }
    insta::assert_snapshot!("edited", shown(&world.plan()));
    world
        .observed
        .units
        .insert("ky04-api.service".into(), running("2"));
    insta::assert_snapshot!("edited_and_restarted", shown(&world.plan()));
}

/// Law 3: what is not ours is reported and never overwritten.
#[test]
fn what_others_made_is_a_conflict() {
    let mut world = new_world();
    let desired = world.desired();
    let foreign = |owner| PathState::File {
        digest: "x".into(),
        owner,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    world.observed.user = Some(User {
        uid: 1000,
        gid: 1000,
    });
    world
        .observed
        .paths
        .insert(desired.services[1].file.path.clone(), foreign(None));
    let other = Some(Owner::Tenant("ky05".into()));
    world
        .observed
        .paths
        .insert(desired.site.unwrap().path, foreign(other));
    world.observed.paths.insert(
        "/usr/lib/systemd/system/ky04-api.service".into(),
        foreign(None),
    );
    let plan = world.plan();
    insta::assert_snapshot!(shown(&plan));
    let touches = |s: &Step| matches!(s.aspect, Aspect::Services | Aspect::Proxy);
    assert!(!plan.steps.iter().any(touches));
    // Under somebody else's user nothing is done at all.
    world.observed.user = Some(User {
        uid: 1000,
        gid: 1000,
    });
    insta::assert_snapshot!("foreign_user", shown(&world.plan()));
}

#[test]
fn a_port_that_another_process_holds_is_reported_and_the_others_start() {
    let mut world = World::converged();
    world.observed.units.clear();
    world.binds(32301, 0);
    insta::assert_snapshot!(shown(&world.plan()));
}

/// Nothing else may answer under the tenant's domains.
#[test]
fn a_site_does_not_go_live_on_a_port_that_another_holds() {
    let mut world = new_world();
    world.binds(32300, 0);
    let plan = world.plan();
    assert!(plan.steps.iter().all(|step| step.aspect != Aspect::Proxy));
    assert!(plan.blocked.iter().any(|b| b.aspect == Aspect::Proxy));
}

/// Law 5: a missing mount is not an empty tenant.
#[test]
fn a_tenant_whose_data_is_gone_is_not_started_on_nothing() {
    let mut world = World::converged();
    let database = world.desired().folders[2].path.clone();
    world.observed.paths.remove(&database);
    world.observed.units.clear();
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.blocked[0].reason, ProblemReason::DataMissing);
    world.record.applied = None;
    assert_eq!(world.plan().blocked[0].reason, ProblemReason::DataMissing);
    world.observed.owned_units.clear();
    assert!(!world.plan().steps.is_empty());
}

#[test]
fn lost_records_restart_nothing() {
    let mut world = World::converged();
    world.record = Record::new(world.record.tenant.clone(), "ky04.yaml".into());
    let plan = world.plan();
    assert!(
        plan.steps.iter().all(|step| step.action.is_record()),
        "{}",
        shown(&plan)
    );
}

#[test]
fn detect_and_suspend_hold_the_plan() {
    let mut world = World::converged();
    world.observed.units.clear();
    world.record.tenant.spec.drift_policy = Some(DriftPolicy::Detect);
    assert_eq!(world.plan().hold, Some(Hold::Detect));
    assert!(world.plan().to_execute().is_empty());
    // A change is applied even so.
    world.record.applied = None;
    assert_eq!(world.plan().hold, None);
    world.record.tenant.spec.suspend = true;
    assert_eq!(world.plan().hold, Some(Hold::Suspended));
}

/// Law 2: without `Delete` nothing of the data is touched.
#[test]
fn removal_keeps_or_archives_the_data() {
    let mut world = World::converged();
    world.record.phase = Phase::Retaining;
    insta::assert_snapshot!(
        "retain",
        shown(&remove(&world.observed, &world.record, &world.host))
    );
    world.record.phase = Phase::Deleting;
    insta::assert_snapshot!(
        "delete",
        shown(&remove(&world.observed, &world.record, &world.host))
    );
    world.record.phase = Phase::Retained;
    assert!(remove(&world.observed, &world.record, &world.host).is_empty());
}

#[test]
fn a_service_that_the_application_lost_is_taken_down() {
    let mut world = World::converged();
    world.application.spec.services.remove(0);
    insta::assert_snapshot!(shown(&world.plan()));
}
