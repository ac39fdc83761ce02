//! Each kind of drift is named, put right by steps, and none where somebody
//! asked for a change.

use std::path::PathBuf;

use super::*;
use crate::api::BackupPolicy;
use crate::drift::{Actor, Drift, DriftKind};
use crate::observed::{Account, Exit, Health};
use crate::operation;
use crate::status::ProblemReason;

const API: &str = "ky04-api.service";

/// What was found after something was done to a converged world.
fn after(tamper: impl FnOnce(&mut World)) -> (Vec<(DriftKind, String)>, Vec<&'static str>) {
    let mut world = World::converged();
    tamper(&mut world);
    let plan = world.plan();
    let drifts = plan.drifts.iter().map(|d| (d.kind, d.what.clone()));
    let steps = plan.steps.iter().map(|step| step.action.kind());
    (drifts.collect(), steps.collect())
}

#[track_caller]
fn is(tamper: impl FnOnce(&mut World), kind: DriftKind, what: &str, steps: &[&str]) {
    let (drifts, planned) = after(tamper);
    assert_eq!(drifts, [(kind, what.to_owned())]);
    assert_eq!(planned, steps);
    assert_eq!(
        kind.is_corrected(),
        !steps.is_empty() || kind.is_end_of_run()
    );
}

impl World {
    fn unit_file(&self) -> PathBuf {
        self.desired().services[0].file.path.clone()
    }

    fn file(&mut self, path: &PathBuf, change: impl FnOnce(&mut String, &mut u32, &mut u32)) {
        match self.observed.paths.get_mut(path) {
            Some(PathState::File {
                digest, mode, uid, ..
            }) => change(digest, mode, uid),
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, active: &str, sub: &str, exit: Option<(&str, i32, i32)>) {
        let unit = self.observed.units.get_mut(API).unwrap();
        active.clone_into(&mut unit.active_state);
        sub.clone_into(&mut unit.sub_state);
        unit.exit = exit.map(|(result, code, status)| Exit {
            result: result.to_owned(),
            code,
            status,
            asked: active == "inactive",
        });
    }
}

#[test]
fn files_units_and_sites() {
    use DriftKind::*;
    let desired = World::converged().desired();
    let unit = desired.services[0].file.path.clone();
    let site = desired.site.unwrap().path;
    type Kinds = [DriftKind; 5];
    let cases: [(PathBuf, Kinds, &[&str]); 4] = [
        (
            unit,
            [UnitChanged, UnitMode, UnitOwner, UnitDeleted, UnitReplaced],
            &["WriteUnit", "ReloadUnits"],
        ),
        (
            desired.env.path,
            [FileChanged, FileMode, FileOwner, FileDeleted, FileReplaced],
            &["WriteFile"],
        ),
        (
            desired.sysusers.path,
            [FileChanged, FileMode, FileOwner, FileDeleted, FileReplaced],
            &["EnsureUser"],
        ),
        (
            site,
            [SiteChanged, SiteMode, SiteOwner, SiteDeleted, SiteReplaced],
            &["WriteSite"],
        ),
    ];
    for (path, [content, mode, owner, deleted, replaced], steps) in cases {
        let what = path.display().to_string();
        is(
            |w| w.file(&path, |d, _, _| *d = "x".into()),
            content,
            &what,
            steps,
        );
        is(|w| w.file(&path, |_, m, _| *m = 0o666), mode, &what, steps);
        is(|w| w.file(&path, |_, _, u| *u = 1000), owner, &what, steps);
        is(
            |w| drop(w.observed.paths.remove(&path)),
            deleted,
            &what,
            steps,
        );
        let link = PathState::Link("/tmp/x".into());
        let with_room: Vec<&str> = std::iter::once("SetAside")
            .chain(steps.iter().copied())
            .collect();
        is(
            |w| drop(w.observed.paths.insert(path.clone(), link)),
            replaced,
            &what,
            &with_room,
        );
    }
}

/// Law 3: what is not the operator's is named and stays.
#[test]
fn a_foreign_file_in_the_place_of_ours_is_a_conflict() {
    let mut world = World::converged();
    let unit = world.unit_file();
    if let Some(PathState::File { owner, .. }) = world.observed.paths.get_mut(&unit) {
        *owner = None;
    }
    world.observed.owned_units.remove(API);
    let plan = world.plan();
    assert_eq!(plan.drifts[0].kind, DriftKind::UnitReplaced);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.blocked[0].reason, ProblemReason::Conflict);
}

#[test]
fn overrides_masks_and_disabled_units() {
    let drop_in = "/run/systemd/system/ky04-api.service.d/x.conf";
    let add = |world: &mut World| {
        let all = world.observed.drop_ins.entry(API.into()).or_default();
        all.insert(drop_in.into());
    };
    is(
        add,
        DriftKind::UnitDropIn,
        drop_in,
        &["SetAside", "ReloadUnits"],
    );
    let unit = World::converged().unit_file();
    let runtime = PathBuf::from("/run/systemd/system").join(API);
    let null = || PathState::Link("/dev/null".into());
    is(
        |w| drop(w.observed.paths.insert(unit.clone(), null())),
        DriftKind::UnitMasked,
        &unit.display().to_string(),
        &["SetAside", "WriteUnit", "ReloadUnits"],
    );
    is(
        |w| drop(w.observed.paths.insert(runtime.clone(), null())),
        DriftKind::UnitMasked,
        &runtime.display().to_string(),
        &["SetAside", "ReloadUnits"],
    );
    is(
        |w| assert!(w.observed.enabled.remove(API)),
        DriftKind::UnitDisabled,
        API,
        &["Enable"],
    );
    let (drifts, steps) = after(|world| {
        add(world);
        world.observed.units.insert(API.into(), running("2"));
    });
    assert_eq!(drifts[1], (DriftKind::ServiceRestarted, API.to_owned()));
    assert_eq!(
        steps,
        ["RecordStale", "SetAside", "ReloadUnits", "Stop", "Start"]
    );
    // From an edited release.
    let edited = |world: &mut World| {
        world.observed.release_changes = vec!["`bin/api` has another content".into()];
    };
    let (drifts, steps) = after(|world| {
        edited(world);
        world.observed.units.insert(API.into(), running("2"));
    });
    let restarted = (DriftKind::ServiceRestarted, API.to_owned());
    assert!(drifts.contains(&restarted), "{drifts:?}");
    assert_eq!(steps, ["InstallRelease", "RecordStale", "Stop", "Start"]);
    // Another tenant has put the release right since.
    let (drifts, steps) = after(|world| {
        world.observed.outlived.insert(API.into());
        world.observed.units.insert(API.into(), running("2"));
    });
    assert_eq!(drifts, std::slice::from_ref(&restarted));
    assert_eq!(steps, ["Stop", "Start"]);
    let (drifts, steps) = after(|world| {
        world.observed.outlived.insert(API.into());
    });
    assert_eq!((drifts.len(), steps.len()), (0, 0));
    let (drifts, steps) = after(edited);
    assert!(!drifts.contains(&restarted), "{drifts:?}");
    assert_eq!(steps, ["InstallRelease"]);
}

/// A person's stop, a kill and a crash are told apart.
#[test]
fn services() {
    use DriftKind::*;
    let start: &[&str] = &["Start"];
    let cases: [(_, _, _, &[&str]); 8] = [
        (
            ("inactive", "dead"),
            Some(("success", 2, 15)),
            ServiceStopped,
            start,
        ),
        (
            ("failed", "failed"),
            Some(("timeout", 2, 9)),
            ServiceStopped,
            start,
        ),
        (
            ("activating", "auto-restart"),
            Some(("signal", 2, 9)),
            ServiceKilled,
            &[],
        ),
        (
            ("activating", "auto-restart"),
            Some(("success", 2, 15)),
            ServiceKilled,
            &[],
        ),
        (
            ("activating", "auto-restart"),
            Some(("core-dump", 3, 11)),
            ServiceCrashed,
            &[],
        ),
        (
            ("activating", "auto-restart"),
            Some(("exit-code", 1, 3)),
            ServiceCrashed,
            &[],
        ),
        (
            ("failed", "failed"),
            Some(("oom-kill", 2, 9)),
            ServiceCrashed,
            start,
        ),
        (("failed", "failed"), None, ServiceCrashed, start),
    ];
    for ((active, sub), exit, kind, steps) in cases {
        is(|w| w.state(active, sub, exit), kind, API, steps);
    }
    is(
        |w| drop(w.observed.units.remove(API)),
        ServiceStopped,
        API,
        start,
    );
    // While it stops or starts, nothing is known yet.
    for (active, sub) in [("deactivating", "stop-sigterm"), ("activating", "start")] {
        assert_eq!(after(|w| w.state(active, sub, None)), (vec![], vec![]));
    }
    is(
        |w| assert!(w.observed.settled.insert(API.into())),
        ServiceNotListening,
        API,
        &[],
    );
    let listening = |world: &mut World| {
        world.observed.settled.insert(API.into());
        world.binds(32301, 999);
    };
    assert_eq!(after(listening), (vec![], vec![]));
}

#[test]
fn ports_users_folders_the_site_and_the_release() {
    use DriftKind::*;
    let held = |w: &mut World| w.binds(32301, 0);
    is(held, PortTaken, "port 32301", &[]);
    let account = |home: &str, shell: &str| {
        let (home, shell) = (home.to_owned(), shell.to_owned());
        move |w: &mut World| w.observed.account = Some(Account { home, shell })
    };
    let home = "/var/lib/cb/tenants/ky04";
    is(
        account(home, "/bin/bash"),
        UserShell,
        "cb-ky04",
        &["EnsureUser"],
    );
    is(
        account("/root", "/usr/sbin/nologin"),
        UserHome,
        "cb-ky04",
        &[],
    );
    assert_eq!(after(account(home, "/bin/false")), (vec![], vec![]));
    is(
        |w| w.observed.site_loaded = Some(false),
        SiteNotLoaded,
        "/etc/nginx/conf.d/cb-ky04.conf",
        &["WriteSite"],
    );
    is(
        |w| w.observed.release = false,
        ReleaseChanged,
        "/var/lib/cb/releases/cbapp/v1",
        &["InstallRelease"],
    );
    is(
        |w| w.observed.release_changes = vec!["`bin/api` has another content".into()],
        ReleaseChanged,
        "/var/lib/cb/releases/cbapp/v1",
        &["InstallRelease"],
    );
    let folder = PathBuf::from(home);
    let folder_of = |mode, uid| PathState::Folder { mode, uid, gid: 0 };
    let ensure: &[&str] = &["EnsureFolder"];
    for (kind, state) in [
        (FolderMode, Some(folder_of(0o777, 0))),
        (FolderOwner, Some(folder_of(0o711, 5))),
        (FolderMissing, None),
    ] {
        let tamper = |w: &mut World| match state {
            Some(state) => drop(w.observed.paths.insert(folder.clone(), state)),
            None => drop(w.observed.paths.remove(&folder)),
        };
        is(tamper, kind, home, ensure);
    }
    // Its folders belong to nobody who is known then.
    let (drifts, _) = after(|w| w.observed.user = None);
    assert_eq!(drifts, [(UserMissing, "cb-ky04".to_owned())]);
    // Law 5.
    let database = format!("{home}/db");
    let (drifts, steps) = after(|w| drop(w.observed.paths.remove(&PathBuf::from(&database))));
    assert_eq!((drifts, steps), (vec![(FolderMissing, database)], vec![]));
}

/// A change of ours, or of the manifest, is never drift.
#[test]
fn what_was_asked_for_is_no_drift() {
    let tampered = || {
        let mut world = World::converged();
        world.observed.units.clear();
        let unit = world.unit_file();
        world.observed.paths.remove(&unit);
        world
    };
    assert!(!tampered().plan().drifts.is_empty());
    let mut changed = tampered();
    changed.record.applied = Some(Record::APPLYING.into());
    assert_eq!(changed.plan().drifts, []);
    let mut upgrading = tampered();
    upgrading.record.deployed = Some(Box::new(upgrading.record.tenant.spec.clone()));
    upgrading.record.request = Some(operation::Request {
        at: "2026-11-24T21:30:00Z".into(),
        wish: operation::Wish::Backup { scheduled: false },
    });
    let now = "2026-11-24T21:31:00Z".parse().unwrap();
    let due = operation::due(&upgrading.record, &BackupPolicy::default(), now);
    assert!(due.is_some());
    upgrading.record.operation = due;
    assert_eq!(upgrading.plan().drifts, []);
}

#[test]
fn with_detect_a_change_leaves_overrides() {
    let mut world = World::converged();
    let drop_ins = BTreeSet::from([PathBuf::from(
        "/etc/systemd/system/ky04-api.service.d/x.conf",
    )]);
    world.observed.drop_ins.insert(API.into(), drop_ins);
    world.record.tenant.spec.drift_policy = Some(DriftPolicy::Detect);
    assert_eq!(world.plan().hold, Some(Hold::Detect));
    world.record.applied = None;
    assert!(world.plan().to_execute().is_empty());
}

#[test]
fn who_did_it_is_told_if_it_is_known() {
    let mut world = World::converged();
    let unit = world.unit_file();
    world.file(&unit, |digest, _, _| *digest = "x".into());
    let vim = Actor {
        pid: 812,
        command: Some("vim".into()),
        uid: Some(0),
        login_uid: Some(1000),
        ..Actor::default()
    };
    world.observed.actors.insert(unit.clone(), vim);
    let told = format!(
        "UnitChanged of {}: its content differs (by vim, user 0, logged in as user 1000)",
        unit.display()
    );
    assert_eq!(world.plan().drifts[0].to_string(), told);
    world.observed.actors.clear();
    let shown = world.plan().drifts[0].to_string();
    assert!(shown.ends_with("its content differs"), "{shown}");
}

#[test]
fn the_schema_is_compared_with_what_the_application_answers() {
    let mut world = World::converged();
    let answer = |version| Health {
        ok: true,
        schema_version: version,
        ..Health::default()
    };
    let find = |record: &Record, version| crate::drift::schema(record, [&answer(version)]);
    assert_eq!(find(&world.record, Some(4)), None);
    world.record.schema_version = Some(3);
    assert_eq!(find(&world.record, Some(3)), None);
    assert_eq!(find(&world.record, None), None);
    let drift: Drift = find(&world.record, Some(4)).unwrap();
    assert_eq!(drift.kind, DriftKind::SchemaChanged);
    assert_eq!(drift.detail, "its schema version is 4 instead of 3");
}
