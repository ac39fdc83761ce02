//! Upgrades, backups and restores over HTTP: what a request says, and how it is
//! answered. What is refused and when is tested where it is decided.

use super::*;
use crate::api::{Asked, Backend as _, Problem, ProblemKind, Verdict};
use cb_core::backup::Backup;
use cb_core::operation::{Failure, Phase, Request as Wanted, Wish, due};
use serde_json::json;

const JSON: &str = "application/json";
const NOW: &str = "2026-03-04T12:00:00Z";

impl Server {
    async fn post(&self, path: &str, body: &str) -> Answer {
        let media = if body.is_empty() { "" } else { JSON };
        let path = format!("/api/tenants/{path}");
        self.call(Method::POST, &path, media, body).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.asked.lock().unwrap())
    }
}

impl Answer {
    /// Checks that this is a problem document of this code and reason; gives
    /// its detail.
    fn problem(&self, code: u16, reason: &str) -> String {
        let problem = self.json();
        assert_eq!(self.status.as_u16(), code, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], code);
        assert_eq!(problem["reason"], reason, "{}", self.text);
        assert_eq!(
            problem["type"],
            format!("tag:campaignbrain.io,2026:problem:{reason}")
        );
        assert!(problem["title"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn backup() -> Backup {
    let text = format!(
        "{{id: 20260304t120000z-7, tenant: ky04, cause: Upgrade, created: \"{NOW}\", \
         application: cbapp, version: v0.1.0, schemaVersion: 3, \
         spec: {{application: cbapp, version: v0.1.0, env: {{GREETING: hello}}}}, \
         files: [{{name: database.duckdb, bytes: 7, sha256: aa}}, \
         {{name: env, bytes: 5, sha256: bb}}], verified: true}}"
    );
    serde_yaml::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_upgrade_is_accepted_with_a_place_to_follow_it() {
    let server = Server::start().await;
    let body = r#"{"target_version": "v0.3.0", "backup_db": true, "run_migrations": true}"#;
    let answer = server.post("ky04/upgrade", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.headers["location"], "/api/tenants/ky04/operation");
    insta::assert_snapshot!(stable(&answer.text));
    let short = r#"{"target_version": "v0.3.0"}"#;
    server.post("ky04/upgrade", short).await;
    let back = r#"{"target_version": "v1", "backup_db": false, "run_migrations": false, "restore_backup": "b1"}"#;
    *server.fake.answer.lock().unwrap() = Some(Ok(Asked::Begun("upgrade-2".into())));
    let begun = server.post("ky04/upgrade", back).await;
    assert_eq!(begun.json()["operation"], "upgrade-2");
    *server.fake.answer.lock().unwrap() = Some(Ok(Asked::NotNeeded("it runs".into())));
    let nothing = server.post("ky04/upgrade", short).await;
    assert_eq!(nothing.status, 200);
    assert_eq!(nothing.json()["operation"], Value::Null);
    assert_eq!(
        server.asked(),
        [
            "ky04: to v0.3.0, backup true, migrate true, restore None",
            "ky04: to v0.3.0, backup true, migrate true, restore None",
            "ky04: to v1, backup false, migrate false, restore Some(\"b1\")",
            "ky04: to v0.3.0, backup true, migrate true, restore None",
        ]
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_meant_is_refused_and_says_what_would_be_right() {
    let server = Server::start().await;
    let mut said = String::new();
    for body in [
        "{",
        "[]",
        "{}",
        "",
        r#"{"target_versoin": "v1"}"#,
        r#"{"target_version": "v1", "replicas": 3}"#,
        r#"{"target_version": 1}"#,
        r#"{"target_version": "v1/../v2"}"#,
        r#"{"target_version": "v1", "backup_db": "yes"}"#,
        r#"{"target_version": "v1", "restore_backup": "../x"}"#,
    ] {
        let answer = server.post("ky04/upgrade", body).await;
        said.push_str(&format!("{body}\n  {}\n", answer.problem(400, "Malformed")));
    }
    insta::assert_snapshot!(said);
    let yaml = server
        .call(
            Method::POST,
            "/api/tenants/ky04/upgrade",
            "application/yaml",
            "target_version: v1",
        )
        .await;
    yaml.problem(400, "Malformed");
    let form = server
        .call(
            Method::POST,
            "/api/tenants/ky04/upgrade",
            "application/x-www-form-urlencoded",
            "target_version=v1",
        )
        .await;
    form.problem(415, "UnsupportedMediaType");
    server
        .post("ky04/retry", r#"{"force": true}"#)
        .await
        .problem(400, "Malformed");
    server
        .post("ky04/restore", "{}")
        .await
        .problem(400, "Malformed");
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let server = Server::start().await;
    let body = r#"{"target_version": "v1"}"#;
    for kind in ProblemKind::ALL {
        let (code, reason, _) = kind.facts();
        let problem = Problem::new(kind, "why");
        *server.fake.answer.lock().unwrap() = Some(Err(problem));
        let answer = server.post("ky04/upgrade", body).await;
        assert_eq!(answer.problem(code, reason), "why");
    }
    for path in [
        "nobody/upgrade",
        "No_Body/upgrade",
        "nobody/retry",
        "nobody/restore",
    ] {
        let answer = server.post(path, body).await;
        assert!(answer.problem(404, "NotFound").contains("not found"));
    }
    for path in ["nobody/version", "nobody/operation", "nobody/backups"] {
        let answer = server.get(&format!("/api/tenants/{path}")).await;
        answer.problem(404, "NotFound");
    }
}

#[tokio::test]
async fn the_version_and_the_operation_are_those_of_the_record() {
    let server = Server::start().await;
    let version = server.get("/api/tenants/ky04/version").await;
    let nothing = json!({
        "running": null, "desired": "v0.2.0", "schema": null, "available": ["v0.2.0"],
        "last_upgrade": null,
    });
    assert_eq!(version.json(), nothing);
    let operation = server.get("/api/tenants/ky04/operation").await;
    assert_eq!(
        operation.json(),
        json!({"operation": null, "requested": null})
    );

    let name = "ky04".parse().unwrap();
    let change = |record: &mut cb_core::record::Record| {
        let mut old = record.tenant.spec.clone();
        old.version = "v0.1.0".parse().unwrap();
        record.deployed = Some(Box::new(old));
        record.schema_version = Some(3);
        let now = NOW.parse().unwrap();
        let mut operation = due(record, &Default::default(), now).unwrap();
        let failure = Failure {
            phase: Phase::Preparing,
            reason: "NoSpace".into(),
            message: "7 bytes are missing".into(),
            log: vec!["the last line".into()],
        };
        let next = operation.fail(failure, NOW);
        record.begin(operation);
        record.end(next);
        record.request = Some(Wanted {
            at: NOW.into(),
            wish: Wish::Backup { scheduled: false },
        });
        let operation = due(record, &Default::default(), now).unwrap();
        record.begin(operation);
        record.request = Some(Wanted {
            at: NOW.into(),
            wish: Wish::Restore {
                backup: "b1".parse().unwrap(),
            },
        });
    };
    server.fake.state().update(&name, change).await.unwrap();
    let mut said = String::new();
    for path in ["version", "operation"] {
        let answer = server.get(&format!("/api/tenants/ky04/{path}")).await;
        said.push_str(&format!("{path}\n{}\n", stable(&answer.text)));
    }
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn backups_are_listed_made_verified_and_deleted() {
    let server = Server::start().await;
    let id = backup().id;
    *server.fake.backups.lock().unwrap() = vec![backup()];
    let list = server.get("/api/tenants/ky04/backups").await;
    // Law 11: what was in the environment is not told.
    assert!(!list.text.contains("GREETING"), "{}", list.text);
    insta::assert_snapshot!(stable(&list.text));
    let one = server.get(&format!("/api/tenants/ky04/backups/{id}")).await;
    assert_eq!(one.json(), list.json()["backups"][0]);
    let gone = server.get("/api/tenants/ky04/backups/other").await;
    gone.problem(404, "NoSuchBackup");
    let odd = server.get("/api/tenants/ky04/backups/%2E%2E").await;
    odd.problem(404, "NoSuchBackup");

    let made = server.post("ky04/backups", "").await;
    assert_eq!(made.status, 202);
    assert_eq!(made.headers["location"], "/api/tenants/ky04/operation");
    for query in ["", "?force=true"] {
        let path = format!("/api/tenants/ky04/backups/{id}{query}");
        let deleted = server.call(Method::DELETE, &path, "", "").await;
        assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    }
    let path = format!("/api/tenants/ky04/backups/{id}?force=perhaps");
    let odd = server.call(Method::DELETE, &path, "", "").await;
    odd.problem(400, "Malformed");
    let restore = format!(r#"{{"backup": "{id}", "version": "v0.1.0"}}"#);
    assert_eq!(server.post("ky04/restore", &restore).await.status, 202);
    assert_eq!(server.post("ky04/retry", "").await.status, 202);
    assert_eq!(
        server.asked(),
        [
            "ky04: backup".to_owned(),
            format!("ky04: delete {id}, force false"),
            format!("ky04: delete {id}, force true"),
            format!("ky04: restore {id} with Some(\"v0.1.0\")"),
            "ky04: retry".to_owned(),
        ]
    );

    let verify = format!("ky04/backups/{id}/verify");
    let good = server.post(&verify, "").await.json();
    let expected = json!({"backup": id, "good": true, "reason": null, "message": null});
    assert_eq!(good, expected);
    *server.fake.verdict.lock().unwrap() = Verdict::Bad {
        reason: "BackupDiffers".into(),
        message: "a byte differs".into(),
    };
    let bad = server.post(&verify, "").await;
    assert_eq!(
        (bad.status.as_u16(), &bad.json()["good"]),
        (200, &json!(false))
    );
    assert_eq!(bad.json()["message"], "a byte differs");
}

/// What is only off the host is listed too, and brought back by its name.
#[tokio::test]
async fn copies_off_the_host_are_listed_and_fetched() {
    let server = Server::start().await;
    let known = backup();
    *server.fake.backups.lock().unwrap() = vec![known.clone()];
    let copy = |id: &str| cb_offsite::Entry {
        id: id.parse().unwrap(),
        bytes: 7,
        copied: "2026-03-05T00:00:00Z".parse().unwrap(),
    };
    let seen = |list: serde_json::Value| -> Vec<(String, String, String)> {
        let rows = list["backups"].as_array().unwrap().clone();
        let word = |row: &serde_json::Value, key: &str| row[key].to_string();
        rows.iter()
            .map(|row| {
                let id = row["id"].as_str().unwrap().to_owned();
                (id, word(row, "onHost"), word(row, "offsite"))
            })
            .collect()
    };
    let row = |id: &str, here: &str, there: &str| (id.into(), here.into(), there.into());
    let id = known.id.as_str();
    let path = "/api/tenants/ky04/backups";
    let list = server.get(path).await.json();
    assert_eq!(list["offsiteError"], json!(null));
    assert_eq!(seen(list), [row(id, "true", "null")]);

    let (old, new) = ("20200101t000000z-1", "20990101t000000z-9");
    let copies = vec![copy(old), copy(id), copy(new)];
    *server.fake.copies.lock().unwrap() = Ok(Some(copies));
    let all = [
        row(new, "false", "true"),
        row(id, "true", "true"),
        row(old, "false", "true"),
    ];
    assert_eq!(seen(server.get(path).await.json()), all);
    let one = server.get(&format!("{path}/{old}")).await.json();
    assert_eq!(one["created"], "2020-01-01T00:00:00Z");
    *server.fake.copies.lock().unwrap() = Ok(Some(Vec::new()));
    assert_eq!(
        seen(server.get(path).await.json()),
        [row(id, "true", "false")]
    );

    // The backups of the host are shown all the same.
    let away = Problem::new(ProblemKind::Unavailable, "the folder /mnt is away");
    *server.fake.copies.lock().unwrap() = Err(away);
    let list = server.get(path).await.json();
    assert_eq!(list["offsiteError"], "the folder /mnt is away");
    assert_eq!(seen(list), [row(id, "true", "null")]);

    let fetched = server.post(&format!("ky04/backups/{old}/fetch"), "").await;
    let expected = json!({"backup": old, "fetched": true});
    assert_eq!((fetched.status.as_u16(), fetched.json()), (200, expected));
    assert_eq!(server.asked(), [format!("ky04: fetch {old}")]);
    let none = Problem::new(ProblemKind::NoDestination, "the Host names none");
    *server.fake.answer.lock().unwrap() = Some(Err(none));
    let refused = server.post(&format!("ky04/backups/{old}/fetch"), "").await;
    refused.problem(409, "NoDestination");
}
