//! Rollouts over HTTP, and carried out with a daemon that only remembers: what
//! tenants do is played by the test.

use cb_core::api::OperationStatus;
use cb_core::record::Record;
use cb_core::rollout::{Member, Phase, Rollout, State};
use cb_core::types::TenantName;
use serde_json::json;

use super::*;
use crate::api::Backend;
use crate::rollouts::{RolloutFolder, Rollouts};

const PATH: &str = "/operator/v1/rollouts";
const JSON: &str = "application/json";

impl Server {
    /// Tenants that run v0.1.0, with the label `ring`. Their manifests ask for
    /// v0.2.0, as they do after an upgrade was asked for.
    async fn has_fleet(&self, names: &[&str]) {
        for name in names {
            let text = format!(
                "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, \
                 metadata: {{name: {name}, labels: {{ring: a}}}}, \
                 spec: {{application: cbapp, version: v0.2.0}}}}"
            );
            self.fake.take(&text).await;
            self.turns(name, |record| {
                let mut deployed = record.tenant.spec.clone();
                deployed.version = "v0.1.0".parse().unwrap();
                record.deployed = Some(Box::new(deployed));
            })
            .await;
        }
    }

    async fn turns(&self, name: &str, change: impl FnOnce(&mut Record)) {
        let name: TenantName = name.parse().unwrap();
        let known = self.fake.state().update(&name, change).await.unwrap();
        assert!(known, "{name}");
    }

    /// A tenant comes to the version and is ready.
    async fn succeeds(&self, name: &str) {
        self.turns(name, |record| {
            record.deployed = Some(Box::new(record.tenant.spec.clone()));
        })
        .await;
        let ky04 = self.fake.state().status(&"ky04".parse().unwrap());
        let status = cb_core::api::TenantStatus::clone(&ky04.unwrap());
        self.fake.state().set_status(&name.parse().unwrap(), status);
    }

    /// The upgrade of a tenant fails.
    async fn fails(&self, name: &str) {
        let failed = json!({
            "id": "upgrade-1", "kind": "Upgrade", "state": "Failed", "toVersion": "v0.2.0",
            "phases": [], "started": "2026-01-01T00:00:00Z", "reason": "NoSpace", "message": "full",
        });
        let failed: OperationStatus = serde_json::from_value(failed).unwrap();
        self.turns(name, |record| record.history.push(failed)).await;
    }

    async fn say(&self, path: &str, body: &str) -> Answer {
        let path = format!("{PATH}{path}");
        self.call(Method::POST, &path, JSON, body).await
    }

    fn tenants_asked(&self) -> Vec<String> {
        let asked = self.fake.asked.lock().unwrap();
        let tenant = |line: &String| line.split(':').next().unwrap_or_default().to_owned();
        asked.iter().map(tenant).collect()
    }
}

/// Waits until a rollout is so.
async fn until(rollouts: &Rollouts, is_so: impl Fn(&Rollout) -> bool) -> Rollout {
    let store = rollouts.published();
    let mut changes = store.watch_from(store.revision()).unwrap();
    loop {
        let mut all = store.list().items.into_values();
        if let Some(found) = all.find(|item| is_so(&item.value)) {
            return Rollout::clone(&found.value);
        }
        changes.next().await.unwrap();
    }
}

fn phases(rollout: &Rollout) -> Vec<Phase> {
    let phase = |member: &Member| member.there.phase;
    rollout.tenants.iter().map(phase).collect()
}

fn carried_out(rollouts: &Arc<Rollouts>, server: &Server) -> JoinHandle<()> {
    let backend = Arc::clone(&server.fake) as Arc<dyn Backend>;
    let resync = std::time::Duration::from_secs(3600);
    tokio::spawn(Arc::clone(rollouts).run(backend, resync))
}

/// Law 5: what was asked is known after a restart, and not asked again; the
/// first failure stops the rest.
#[tokio::test]
async fn a_rollout_goes_on_after_a_restart_and_stops_at_a_failure() {
    let server = Server::start().await;
    server.has_fleet(&["t0", "t1", "t2"]).await;
    let body = r#"{"selector": "ring=a", "targetVersion": "v0.2.0", "wave": 1}"#;
    let started = server.say("", body).await;
    assert_eq!(started.status, 201, "{}", started.text);
    assert_eq!(
        started.headers["location"],
        "/operator/v1/rollouts/rollout-1"
    );
    let rollouts = Arc::clone(&server.fake.rollouts);
    let first = carried_out(&rollouts, &server);
    until(&rollouts, |r| phases(r)[0] == Phase::Asked).await;
    server.succeeds("t0").await;
    let before = until(&rollouts, |r| phases(r)[1] == Phase::Asked).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    let folder = RolloutFolder::new(server.fake.folder.path().to_owned());
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.values, [before]);
    let again = Rollouts::new(folder, loaded.values);
    let second = carried_out(&again, &server);
    server.fails("t1").await;
    let after = until(&again, Rollout::is_over).await;
    assert_eq!(after.state, State::Failed);
    let wanted = [Phase::Succeeded, Phase::Failed, Phase::Pending];
    assert_eq!(phases(&after), wanted);
    assert_eq!(after.tenants[1].there.reason.as_deref(), Some("NoSpace"));
    assert_eq!(server.tenants_asked(), ["t0", "t1"]);
    second.abort();
    let told = server.get("/apis/events.k8s.io/v1/events").await.text;
    assert!(
        told.contains("RolloutStarted") && told.contains("RolloutFailed"),
        "{told}"
    );
}

/// A tenant that is suspended or deleted after it was asked holds nothing up.
#[tokio::test]
async fn a_tenant_that_goes_is_left_out() {
    let server = Server::start().await;
    server.has_fleet(&["t0", "t1", "t2"]).await;
    let body = r#"{"tenants": ["t2", "t0"], "targetVersion": "v0.2.0", "wave": "100%"}"#;
    assert_eq!(server.say("", body).await.status, 201);
    let rollouts = Arc::clone(&server.fake.rollouts);
    let task = carried_out(&rollouts, &server);
    until(&rollouts, |r| phases(r) == [Phase::Asked; 2]).await;
    server
        .turns("t2", |record| record.tenant.spec.suspend = true)
        .await;
    until(&rollouts, |r| phases(r) == [Phase::Skipped, Phase::Asked]).await;
    let t0 = "t0".parse().unwrap();
    server.fake.state().remove(&t0).await.unwrap();
    let end = until(&rollouts, Rollout::is_over).await;
    assert_eq!(end.state, State::Succeeded);
    assert_eq!(end.summary(), "of 2 tenants: 2 skipped");
    task.abort();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_begins_nothing() {
    let server = Server::start().await;
    server.has_fleet(&["t0"]).await;
    for (body, code, reason, says) in [
        (
            r#"{"selector": "ring=a"}"#,
            400,
            "BadRequest",
            "targetVersion",
        ),
        (
            r#"{"selektor": "a", "targetVersion": "v0.2.0"}"#,
            400,
            "BadRequest",
            "selektor",
        ),
        (
            r#"{"targetVersion": "v0.2.0"}"#,
            422,
            "Invalid",
            "say which tenants",
        ),
        (
            r#"{"selector": "a", "tenants": ["t0"], "targetVersion": "v0.2.0"}"#,
            422,
            "Invalid",
            "not both",
        ),
        (
            r#"{"selector": "ring=", "targetVersion": "v0.2.0"}"#,
            422,
            "Invalid",
            "no tenant",
        ),
        (
            r#"{"selector": "a=b=c", "targetVersion": "v0.2.0"}"#,
            422,
            "Invalid",
            "selector",
        ),
        (
            r#"{"tenants": ["t9"], "targetVersion": "v0.2.0"}"#,
            422,
            "Invalid",
            "no tenant `t9`",
        ),
        (
            r#"{"selector": "", "targetVersion": "v9"}"#,
            422,
            "Invalid",
            "`v9`",
        ),
        (
            r#"{"selector": "", "targetVersion": "v0.2.0", "wave": 0}"#,
            400,
            "BadRequest",
            "from 1",
        ),
    ] {
        let message = server.say("", body).await.failure(code, reason);
        assert!(message.contains(says), "{body}: {message}");
    }
    assert_eq!(server.get(PATH).await.json()["items"], json!([]));
    let gone = server.get(&format!("{PATH}/rollout-7")).await;
    gone.failure(404, "NotFound");
}

#[tokio::test]
async fn a_rollout_does_what_a_person_says() {
    let server = Server::start().await;
    server.has_fleet(&["t0", "t1"]).await;
    let body = r#"{"tenants": ["t0"], "targetVersion": "v0.2.0"}"#;
    server.say("", body).await;
    let message = server.say("", body).await.failure(409, "Conflict");
    assert!(
        message.contains("rollout-1 is Running and has `t0`"),
        "{message}"
    );
    let other = r#"{"tenants": ["t1"], "targetVersion": "v0.2.0"}"#;
    assert_eq!(server.say("", other).await.status, 201);

    let paused = server.say("/rollout-1/pause", "").await.json();
    assert_eq!(
        (&paused["state"], &paused["phase"]),
        (&json!("Paused"), &json!("Paused"))
    );
    server
        .say("/rollout-1/pause", "")
        .await
        .failure(409, "Conflict");
    server
        .say("/rollout-1/undo", "")
        .await
        .failure(409, "Conflict");
    let resumed = server
        .say("/rollout-1/resume", r#"{"retryFailed": true}"#)
        .await;
    assert_eq!(resumed.json()["state"], "Running");
    server
        .say("/rollout-1/resume", r#"{"retry": true}"#)
        .await
        .failure(400, "BadRequest");

    let one = server
        .get(&format!("{PATH}?fieldSelector=id%3Drollout-2"))
        .await
        .json();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(one["items"][0]["spec"]["tenants"], json!(["t1"]));
    let path = format!("{PATH}?watch=true&timeoutSeconds=0&fieldSelector=id%3Drollout-1");
    let line: Value = serde_json::from_str(server.get(&path).await.text.trim()).unwrap();
    assert_eq!(
        (&line["type"], &line["object"]["id"]),
        (&json!("ADDED"), &json!("rollout-1"))
    );
}
