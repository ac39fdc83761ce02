//! What is changed, and that it is what was asked for.

use std::time::Duration;

use super::*;
use crate::api::tests::fake::{KY04, OH01};
use crate::api::{Cause, PutMode, Refusal};
use cb_core::api::Kind;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

#[tokio::test]
async fn yaml_is_passed_on_as_it_is() {
    let server = Server::start().await;
    let text = KY04.replace("v0.2.0", "v0.3.0 # soon");
    let answer = server
        .call(Method::PUT, &format!("{V1}/tenants/ky04"), YAML, &text)
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-cb-result"]),
        (200, &"configured".parse().unwrap())
    );
    assert_eq!(answer.json()["spec"]["version"], "v0.3.0");
    let puts = server.fake.puts.lock().unwrap();
    assert_eq!(puts[0].text, text);
    assert_eq!(
        (puts[0].kind, puts[0].mode, puts[0].dry_run),
        (Kind::Tenant, PutMode::Replace, false)
    );
}

#[tokio::test]
async fn what_get_gives_can_be_put_back_and_is_unchanged() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants/ky04");
    let object = server.get(&path).await.text;
    let answer = server.call(Method::PUT, &path, JSON, &object).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["x-cb-result"], "unchanged");
    let text = server.fake.puts.lock().unwrap()[0].text.clone();
    for field in [
        "status:",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "campaignbrain.io/manifest",
    ] {
        assert!(!text.contains(field), "{field} in {text}");
    }
}

#[tokio::test]
async fn a_stale_object_is_a_conflict() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants/ky04");
    let object = server.get(&path).await.text;
    server.fake.take(&KY04.replace("v0.2.0", "v0.3.0")).await;
    server
        .call(Method::PUT, &path, JSON, &object)
        .await
        .failure(409, "Conflict");
    assert!(server.fake.puts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_new_object_is_created_once() {
    let server = Server::start().await;
    let text = OH01.replace("oh01", "oh02");
    let answer = server
        .call(
            Method::POST,
            &format!("{V1}/tenants?dryRun=All"),
            YAML,
            &text,
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    server
        .get(&format!("{V1}/tenants/oh02"))
        .await
        .failure(404, "NotFound");
    let answer = server
        .call(Method::POST, &format!("{V1}/tenants"), YAML, &text)
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-cb-result"]),
        (201, &"created".parse().unwrap())
    );
    let again = server
        .call(Method::POST, &format!("{V1}/tenants"), YAML, &text)
        .await;
    again.failure(409, "AlreadyExists");
}

#[tokio::test]
async fn what_the_daemon_refuses_is_said_field_by_field() {
    let server = Server::start().await;
    let cause = Cause {
        field: "spec.version".into(),
        message: "line 9, column 12: there is no v9".into(),
    };
    *server.fake.refuse.lock().unwrap() = Some(Refusal::Invalid(vec![cause]));
    let answer = server
        .call(Method::PUT, &format!("{V1}/tenants/ky04"), YAML, KY04)
        .await;
    answer.failure(422, "Invalid");
    insta::assert_snapshot!(stable(&answer.text));
    for (refusal, code, reason) in [
        (Refusal::Conflict("c".into()), 409, "Conflict"),
        (Refusal::BadRequest("b".into()), 400, "BadRequest"),
        (Refusal::Forbidden("f".into()), 403, "Forbidden"),
        (Refusal::Unavailable("u".into()), 503, "ServiceUnavailable"),
        (Refusal::Internal("i".into()), 500, "InternalError"),
    ] {
        *server.fake.refuse.lock().unwrap() = Some(refusal);
        let answer = server
            .call(Method::PUT, &format!("{V1}/tenants/ky04"), YAML, KY04)
            .await;
        answer.failure(code, reason);
    }
}

#[tokio::test]
async fn delete_takes_kubectls_options() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants/ky04");
    let options = |more: Value| {
        let mut options = json!({"kind": "DeleteOptions", "propagationPolicy": "Background"});
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        options.to_string()
    };
    let dry = server
        .call(
            Method::DELETE,
            &path,
            JSON,
            &options(json!({"dryRun": ["All"]})),
        )
        .await;
    assert_eq!(dry.status, 200, "{}", dry.text);
    let other = json!({"preconditions": {"uid": "another"}});
    server
        .call(Method::DELETE, &path, JSON, &options(other))
        .await
        .failure(409, "Conflict");
    let odd = options(json!({"dryRun": ["Some"]}));
    server
        .call(Method::DELETE, &path, JSON, &odd)
        .await
        .failure(422, "Invalid");
    server
        .call(Method::DELETE, &path, JSON, KY04)
        .await
        .failure(400, "BadRequest");
    let done = server.call(Method::DELETE, &path, "", "").await;
    assert_eq!(done.json()["status"], "Success");
    assert_eq!(done.json()["details"]["name"], "ky04");
    let missing = server
        .call(Method::DELETE, &format!("{V1}/tenants/nobody"), "", "")
        .await;
    missing.failure(404, "NotFound");
    let deletes = server.fake.deletes.lock().unwrap();
    assert_eq!(
        *deletes,
        [
            (Kind::Tenant, "ky04".into(), true),
            (Kind::Tenant, "ky04".into(), false)
        ]
    );
}

#[tokio::test]
async fn a_host_is_only_read() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::POST, "hosts"),
        (Method::PUT, "hosts/web1"),
        (Method::DELETE, "hosts/web1"),
    ] {
        let answer = server.call(method, &format!("{V1}/{path}"), YAML, "").await;
        assert!(
            answer
                .failure(405, "MethodNotAllowed")
                .contains("host.yaml")
        );
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn a_plan_is_passed_on() {
    let server = Server::start().await;
    let body = json!({"manifests": [{"name": "ky04.yaml", "text": KY04}], "tenants": null});
    let answer = server
        .call(Method::POST, "/operator/v1/plan", JSON, &body.to_string())
        .await;
    insta::assert_snapshot!(stable(&answer.text));
    let answer = server
        .call(Method::POST, "/operator/v1/plan", JSON, "{}")
        .await;
    assert_eq!(answer.status, 200);
    let plans = server.fake.plans.lock().unwrap();
    assert_eq!(plans[0].manifests[0].text, KY04);
    assert_eq!((plans[1].manifests.len(), &plans[1].tenants), (0, &None));
}

/// Law 5: half of a change is not left behind by a client that hangs up.
#[tokio::test]
async fn a_change_goes_on_when_its_client_leaves() {
    let server = Server::start().await;
    let path = "/operator/v1/tenants/ky04/reconcile";
    let mut client = server.connect().await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: operator\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    server.fake.began.notified().await;
    drop(client);
    // One thread runs all: the server sees the end before this goes on.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    server.fake.go_on.notify_one();
    let ended = server.fake.ended.notified();
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it went on");
    server.fake.go_on.notify_one();
    let answer = server.call(Method::POST, path, "", "").await;
    assert_eq!(answer.json()["metadata"]["name"], "ky04");
    let missing = server
        .call(
            Method::POST,
            "/operator/v1/tenants/nobody/reconcile",
            "",
            "",
        )
        .await;
    missing.failure(404, "NotFound");
}
