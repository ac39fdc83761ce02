//! Taking over what was set up by hand (law 3).

use super::*;
use crate::adopt::ANNOTATION;
use crate::observed::Secret;
use crate::status::ProblemReason;

/// What somebody else wrote for a tenant that runs as the operator would have
/// it run.
fn by_hand() -> World {
    let mut world = World::converged();
    let desired = world.desired();
    world.record.applied = None;
    world.record.services.clear();
    world.observed.owned_units.clear();
    let unmarked = |text: &str| text.replace("# cb-operator: owner=", "# made with: ");
    let mut listed = Vec::new();
    let files = desired.services.iter().map(|service| &service.file);
    for file in files.chain([&desired.env]) {
        let text = unmarked(&file.content).replace("NoNewPrivileges=yes\n", "");
        let state = PathState::File {
            digest: "by hand".into(),
            owner: None,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        world.observed.paths.insert(file.path.clone(), state);
        world
            .observed
            .handmade
            .insert(file.path.clone(), Secret::new(text));
        listed.push(file.path.display().to_string());
    }
    let old = "/etc/nginx/conf.d/old.conf";
    let site = desired.site.as_ref().unwrap();
    world.observed.paths.remove(&site.path);
    let text = Secret::new(unmarked(&site.content));
    world.observed.handmade.insert(old.into(), text);
    listed.push(old.into());
    let annotations = &mut world.record.tenant.metadata.annotations;
    annotations.insert(ANNOTATION.into(), listed.join(" "));
    world
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.action.kind()).collect()
}

#[test]
fn what_runs_as_it_should_is_taken_over_without_a_restart() {
    let world = by_hand();
    let plan = world.plan();
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    assert_eq!(
        kinds(&plan),
        [
            "WriteSite",
            "Adopt",
            "RecordStarted",
            "RecordStarted",
            "Adopt",
            "WriteFile",
            "Adopt",
            "WriteUnit",
            "Adopt",
            "WriteUnit",
            "ReloadUnits"
        ]
    );
}

#[test]
fn without_being_asked_nothing_is_taken_over() {
    let mut world = by_hand();
    world.observed.handmade.clear();
    let plan = world.plan();
    assert!(
        plan.blocked
            .iter()
            .any(|b| b.reason == ProblemReason::Conflict)
    );
    assert!(!kinds(&plan).contains(&"Adopt"));
    assert!(!kinds(&plan).contains(&"WriteUnit"));
}

#[test]
fn what_runs_with_something_else_is_restarted() {
    let mut world = by_hand();
    let env = world.desired().env;
    let text = env
        .content
        .replace("CB_DISPLAY_NAME=ky04", "CB_DISPLAY_NAME=other");
    world.observed.handmade.insert(env.path, Secret::new(text));
    let kinds = kinds(&world.plan());
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "Stop").count(),
        2,
        "{kinds:?}"
    );
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "Start").count(),
        2,
        "{kinds:?}"
    );
}

/// Law 5: nothing is touched while the data is elsewhere.
#[test]
fn a_database_elsewhere_blocks_everything() {
    let mut world = by_hand();
    let env = world.desired().env;
    let text = "CB_DATABASE_PATH=/srv/ky04/app.duckdb\n".to_owned();
    world.observed.handmade.insert(env.path, Secret::new(text));
    let plan = world.plan();
    assert!(plan.steps.is_empty(), "{:?}", kinds(&plan));
    assert!(plan.blocked[0].message.contains("/srv/ky04/app.duckdb"));
}

/// A site that serves others too stays.
#[test]
fn a_site_of_others_is_not_taken_away() {
    let mut world = by_hand();
    let text = "server { server_name ky04.example.org other.example.org; location / { proxy_pass http://127.0.0.1:32300; } }";
    let old = Path::new("/etc/nginx/conf.d/old.conf");
    world
        .observed
        .handmade
        .insert(old.into(), Secret::new(text.into()));
    let plan = world.plan();
    let takes = |step: &Step| step.action == Action::Adopt(old.into());
    assert!(!plan.steps.iter().any(takes));
    assert!(plan.blocked.iter().any(|b| b.aspect == Aspect::Proxy));
}
