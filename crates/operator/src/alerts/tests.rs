//! Sinks against a real HTTP receiver that is down, slow and failing.

mod receiver;

use std::path::Path;

use cb_core::api::{Condition, ConditionStatus, TenantStatus};
use cb_core::event::Reason;
use cb_core::record::Record;
use cb_core::types::TenantName;
use serde_json::Value;

use super::*;
use crate::state::NoRecords;
use receiver::{Act, Receiver};

/// A host with tenants and sinks.
struct World {
    host: Host,
    state: Arc<State>,
    recorder: Recorder,
    folder: tempfile::TempDir,
}

/// Running sinks.
struct Running {
    alerts: Alerts,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl World {
    /// A host with these sinks; `sinks` is YAML in one line.
    fn new(sinks: &str) -> Self {
        let host = format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {{name: web1}}, \
             spec: {{alerts: {{groupSeconds: 0, sinks: {sinks}}}}}}}"
        );
        let record = |name: &str| {
            let tenant = format!(
                "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: {name}}}, \
                 spec: {{application: cbapp, version: v1}}}}"
            );
            Record::new(
                serde_yaml::from_str(&tenant).unwrap(),
                format!("{name}.yaml"),
            )
        };
        let world = Self {
            host: serde_yaml::from_str(&host).unwrap(),
            state: Arc::new(State::new(Arc::new(NoRecords), ["a", "b"].map(record), [])),
            recorder: Recorder::new("web1", Vec::new()),
            folder: tempfile::tempdir().unwrap(),
        };
        world.set("a", None);
        world.set("b", None);
        world
    }

    /// Sets what keeps a tenant from being ready.
    fn set(&self, tenant: &str, reason: Option<&str>) {
        let condition = |kind: &str, status: bool, reason: &str| Condition {
            kind: kind.into(),
            status: ConditionStatus::from(status),
            observed_generation: 1,
            last_transition_time: "2026-01-01T00:00:00Z".into(),
            reason: reason.into(),
            message: "words".into(),
        };
        let conditions = match reason {
            None => vec![condition("Ready", true, "Ready")],
            Some(reason) => vec![
                condition("Ready", false, reason),
                condition("Stalled", true, reason),
            ],
        };
        let status = TenantStatus {
            conditions,
            ..TenantStatus::default()
        };
        self.state.set_status(&tenant.parse().unwrap(), status);
    }

    fn start(&self) -> Running {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let patience = Patience {
            // What answers does so in time on a busy machine too; some hang.
            answer: Duration::from_secs(2),
            backoff: BackoffConfig {
                base: Duration::from_millis(5),
                cap: Duration::from_millis(20),
                ..BackoffConfig::default()
            },
            ..Patience::default()
        };
        let alerts = Alerts::start(
            &self.host,
            self.folder.path().join("alerts"),
            Arc::clone(&self.state),
            &self.recorder,
            &patience,
            (&tasks, &stop),
        );
        Running {
            alerts: alerts.unwrap(),
            tasks,
            stop,
        }
    }

    /// Waits until it was recorded that a sink does not take messages.
    async fn undeliverable(&self) -> String {
        let mut watch = {
            let store = self.recorder.published();
            let list = store.list();
            let told = |p: &crate::recorder::Published| {
                (p.series.event.reason == Reason::AlertUndeliverable)
                    .then(|| p.series.event.note.clone())
            };
            if let Some(note) = list.items.values().find_map(|item| told(&item.value)) {
                return note;
            }
            store.watch_from(list.revision).unwrap()
        };
        watch.next().await.unwrap().value.series.event.note.clone()
    }
}

fn tenants(of: &Value) -> Vec<&str> {
    let all = of.as_array().unwrap().iter();
    all.map(|alert| alert["tenant"].as_str().unwrap()).collect()
}

/// Nothing is lost and nothing is doubled, with a receiver that is down, then
/// answers 500, then not at all, and with restarts of the operator in between.
#[tokio::test]
async fn every_message_arrives_once_at_a_receiver_that_fails_in_every_way() {
    let mut receiver = Receiver::down().await;
    let world = World::new(&format!(
        "[{{name: hook, webhook: {{url: '{}'}}}}]",
        receiver.url("/x")
    ));
    let running = world.start();
    world.set("a", Some("CrashLoop"));
    let note = world.undeliverable().await;
    assert!(
        note.starts_with("sink hook: it cannot be connected to"),
        "{note}"
    );
    // What came while it was down is there after a restart.
    running.stop().await;
    let running = world.start();
    receiver
        .up([Act::Answer(500), Act::Hang, Act::Answer(302)])
        .await;
    let first = receiver.accepted().await;
    assert_eq!(
        (
            first.body["status"].as_str(),
            tenants(&first.body["firing"])
        ),
        (Some("firing"), vec!["a"])
    );
    assert_eq!(receiver.refused().len(), 3);
    for refused in receiver.refused() {
        assert_eq!((&refused.body, &refused.id), (&first.body, &first.id));
    }
    // What was taken is not sent again after a restart.
    running.stop().await;
    let running = world.start();
    world.set("b", Some("CrashLoop"));
    let second = receiver.accepted().await;
    assert_eq!(tenants(&second.body["firing"]), ["a", "b"]);
    receiver.next_acts([Act::Answer(503), Act::Hang]);
    world.set("a", None);
    world.set("b", None);
    // One or two messages, as the task saw both changes together or not.
    let mut last = receiver.accepted().await;
    let mut ids = vec![first.id, second.id, last.id.clone()];
    while last.body["status"] != "resolved" {
        last = receiver.accepted().await;
        ids.push(last.id.clone());
    }
    assert!(last.body["firing"].as_array().unwrap().is_empty());
    running.stop().await;
    let total = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), total);
    assert!(receiver.is_quiet());
}

/// Law 4: a sink that does not answer delays no other, and no status.
#[tokio::test]
async fn a_slow_sink_delays_no_other() {
    let mut slow = Receiver::down().await;
    slow.up(std::iter::repeat_n(Act::Hang, 1000)).await;
    let mut fast = Receiver::down().await;
    fast.up([]).await;
    let world = World::new(&format!(
        "[{{name: slow, slack: {{url: '{}'}}}}, {{name: fast, slack: {{url: '{}'}}}}]",
        slow.url("/"),
        fast.url("/")
    ));
    let running = world.start();
    for reason in ["CrashLoop", "Unhealthy", "Failed"] {
        world.set("a", Some(reason));
        // The old reason is over in the same breath, in any order.
        loop {
            let text = fast.accepted().await.body["text"]
                .as_str()
                .unwrap()
                .to_owned();
            if text == format!("[FIRING] {reason}: tenant a on web1\n- a: words") {
                break;
            }
            assert!(text.starts_with("[RESOLVED]"), "{text}");
        }
    }
    let overview = running.alerts.overview();
    assert_eq!(overview.alerts[0].reason, "Failed");
    assert!(slow.is_quiet());
    running.stop().await;
}

/// Alertmanager hears of each alert in its own shape, and of its end.
#[tokio::test]
async fn alertmanager_is_told_in_its_own_words() {
    let mut receiver = Receiver::down().await;
    receiver.up([]).await;
    let world = World::new(&format!(
        "[{{name: am, alertmanager: {{url: '{}'}}}}]",
        receiver.url("/base/")
    ));
    let running = world.start();
    world.set("a", Some("CrashLoop"));
    let first = receiver.accepted().await;
    assert_eq!(first.path, "/base/api/v2/alerts");
    assert_eq!(first.body[0]["labels"]["alertname"], "CrashLoop");
    world.set("a", None);
    let second = receiver.accepted().await;
    assert_eq!(second.body[0]["labels"], first.body[0]["labels"]);
    let end: Timestamp = second.body[0]["endsAt"].as_str().unwrap().parse().unwrap();
    assert!(end <= Timestamp::now());
    running.stop().await;
}

/// Drift that is put right at once was there all the same, and somebody made it.
#[tokio::test]
async fn drift_that_was_put_right_is_told_by_its_kind() {
    let mut receiver = Receiver::down().await;
    receiver.up([]).await;
    let world = World::new(&format!(
        "[{{name: hook, webhook: {{url: '{}'}}}}]",
        receiver.url("/")
    ));
    let running = world.start();
    let name: TenantName = "a".parse().unwrap();
    let note = "UnitMode of /x: 0777 instead of 0644";
    let event = cb_core::event::Event::tenant(&name, Reason::DriftCorrected, note);
    world.recorder.record(event);
    let message = receiver.accepted().await;
    let alert = &message.body["firing"][0];
    assert_eq!(
        (alert["tenant"].as_str(), alert["reason"].as_str()),
        (Some("a"), Some("UnitMode"))
    );
    assert_eq!(alert["message"], format!("it was put right; {note}"));
    // After a restart it is the same alert.
    running.stop().await;
    let running = world.start();
    assert_eq!(running.alerts.overview().sinks[0].waiting, 0);
    world.set("b", Some("CrashLoop"));
    assert_eq!(receiver.accepted().await.body["reason"], "CrashLoop");
    running.stop().await;
}

/// Law 11: URLs and keys are read from files and are in no error.
#[tokio::test]
async fn a_webhook_is_signed_and_templated_and_keeps_its_secrets() {
    let mut receiver = Receiver::down().await;
    let secrets = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
    };
    write("url", &format!("{}\n", receiver.url("/T0KEN")));
    write("key", "k3y\n");
    let path = secrets.path().display();
    let world = World::new(&format!(
        "[{{name: hook, webhook: {{urlFile: {path}/url, secretFile: {path}/key, \
         body: '{{\"m\": \"{{{{summary}}}}\"}}'}}}}]"
    ));
    let running = world.start();
    world.set("a", Some("CrashLoop"));
    let note = world.undeliverable().await;
    assert!(!note.contains("T0KEN"), "{note}");
    receiver.up([]).await;
    let message = receiver.accepted().await;
    assert_eq!(message.path, "/T0KEN");
    assert_eq!(
        message.text,
        r#"{"m": "[FIRING] CrashLoop: tenant a on web1"}"#
    );
    assert_eq!(
        message.signature.as_deref(),
        Some("sha256=50fea33a661bb1dda36da59c05e3183f0b1589c077da82f695aa3927de489340")
    );
    write("url", "not a URL T0KEN");
    let tried = running.alerts.test(Some("hook")).await.unwrap();
    let error = tried[0].error.clone().unwrap();
    assert_eq!(
        error,
        format!("{path}/url does not hold one http or https URL")
    );
    assert_eq!(running.alerts.test(Some("nobody")).await, None);

    // What others can read is no secret, and is not used.
    write("url", &receiver.url("/T0KEN"));
    for name in ["url", "key"] {
        set_mode(&secrets.path().join(name), 0o640);
        let tried = running.alerts.test(Some("hook")).await.unwrap();
        let error = tried[0].error.clone().unwrap();
        let private = "is a secret that others than root can read or change";
        assert!(
            error.starts_with(&format!("{path}/{name} {private}")),
            "{error}"
        );
        set_mode(&secrets.path().join(name), 0o600);
    }
    assert!(
        running.alerts.test(Some("hook")).await.unwrap()[0]
            .error
            .is_none()
    );
    running.stop().await;
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn me() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid));
    line.unwrap().split(':').next().unwrap().to_owned()
}

fn script(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    set_mode(&path, 0o755);
    path.display().to_string()
}

/// A program gets the message on its standard input and has its time; sendmail
/// gets a mail.
#[tokio::test]
async fn programs_get_messages() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let text = format!(
        "echo \"$@\" >'{}'; cat >>'{}'",
        out("one").display(),
        out("one").display()
    );
    let good = script(folder.path(), "good", &text);
    let slow = script(folder.path(), "slow", "sleep 1000 & wait");
    let bad = script(folder.path(), "bad", "exit 3");
    let text = format!(
        "echo \"$@\" >'{}'; cat >>'{}'",
        out("mail").display(),
        out("mail").display()
    );
    let mail = script(folder.path(), "sendmail", &text);
    let me = me();
    let command = |name: &str, program: &str, more: &str| {
        format!("{{name: {name}, command: {{program: {program}, user: {me}, {more}}}}}")
    };
    let world = World::new(&format!(
        "[{}, {}, {}, {{name: mail, email: {{to: [ops@example.org, b@example.org], \
         from: cb@example.org, sendmail: {mail}}}}}]",
        command("good", &good, "arguments: [--a, b c]"),
        command("slow", &slow, "timeoutSeconds: 1"),
        command("bad", &bad, ""),
    ));
    let running = world.start();
    let tried = running.alerts.test(None).await.unwrap();
    let errors: Vec<_> = tried.iter().map(|tried| tried.error.clone()).collect();
    let failed = |text: String| Some(text);
    assert_eq!(
        errors,
        [
            None,
            failed(format!("{slow} has not ended within 1 s")),
            failed(format!("{bad} ended with exit status: 3")),
            None
        ]
    );
    let said = std::fs::read_to_string(out("one")).unwrap();
    let (arguments, json) = said.split_once('\n').unwrap();
    assert_eq!(arguments, "--a b c");
    let json: Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (json["reason"].as_str(), json["host"].as_str()),
        (Some("Test"), Some("web1"))
    );
    let said = std::fs::read_to_string(out("mail")).unwrap();
    assert!(
        said.starts_with(
            "-oi -f cb@example.org ops@example.org b@example.org\nFrom: cb@example.org\n"
        ),
        "{said}"
    );
    assert!(said.contains(
        "\nTo: ops@example.org, b@example.org\nSubject: [FIRING] Test: tenant test on web1\n"
    ));
    running.stop().await;
}

/// What is left of a sink that is no more goes; another's stays, also one that
/// is broken.
#[tokio::test]
async fn spools_of_removed_sinks_are_removed() {
    let receiver = Receiver::down().await;
    let mut world = World::new(&format!(
        "[{{name: one, slack: {{url: '{0}'}}}}, {{name: two, slack: {{url: '{0}'}}}}]",
        receiver.url("/")
    ));
    world.set("a", Some("CrashLoop"));
    let running = world.start();
    world.undeliverable().await;
    running.stop().await;
    let spool = |name: &str| {
        world
            .folder
            .path()
            .join("alerts")
            .join(name)
            .join("spool.json")
    };
    let kept: Value = serde_json::from_slice(&std::fs::read(spool("one")).unwrap()).unwrap();
    assert_eq!(kept["queue"].as_array().unwrap().len(), 1);
    std::fs::write(spool("one"), "{").unwrap();
    let (gone, broken) = (spool("two"), spool("one").with_extension("json.broken"));
    world.host.spec.alerts.sinks.remove(1);
    world.start().stop().await;
    assert!(!gone.parent().unwrap().exists() && broken.exists());
}
