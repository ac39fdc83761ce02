//! Changes that say only what is to be different.

use super::*;
use crate::api::tests::fake::KY04;
use crate::api::{PutMode, Refusal};
use cb_core::api::Kind;
use serde_json::json;

const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";

async fn patched(server: &Server, media: &str, patch: &Value) -> Answer {
    let path = format!("{V1}/tenants/ky04");
    server
        .call(Method::PATCH, &path, media, &patch.to_string())
        .await
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let server = Server::start().await;
    let merge =
        json!({"metadata": {"labels": {"ring": "canary"}}, "spec": {"env": {"GREETING": null}}});
    let answer = patched(&server, MERGE, &merge).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["x-cb-result"], "configured");
    let object = answer.json();
    assert_eq!(
        object["metadata"]["labels"],
        json!({"ring": "canary", "state": "ky"})
    );
    assert!(object["spec"].get("env").is_none(), "{object}");
    let operations = json!([
        {"op": "test", "path": "/spec/version", "value": "v0.2.0"},
        {"op": "replace", "path": "/spec/version", "value": "v0.3.0"},
    ]);
    let object = patched(&server, OPERATIONS, &operations).await.json();
    assert_eq!(object["spec"]["version"], "v0.3.0");
    let puts = server.fake.puts.lock().unwrap();
    let put = &puts[0];
    assert_eq!(
        (put.kind, put.mode, put.is_text, put.dry_run),
        (Kind::Tenant, PutMode::Replace, false, false)
    );
    // What it was made of is without what the operator adds.
    let expected: Value = serde_yaml::from_str(KY04).unwrap();
    assert_eq!(put.based_on.as_ref(), Some(&expected));
}

/// Law 12: what is wrong is said, and nothing is changed.
#[tokio::test]
async fn a_patch_that_does_not_fit_is_refused() {
    let server = Server::start().await;
    let cases = [
        (MERGE, json!([]), 400, "BadRequest"),
        (
            MERGE,
            json!({"metadata": {"name": "other"}}),
            400,
            "BadRequest",
        ),
        (MERGE, json!({"kind": "Host"}), 400, "BadRequest"),
        (
            MERGE,
            json!({"metadata": {"resourceVersion": "1"}}),
            409,
            "Conflict",
        ),
        (
            MERGE,
            json!({"metadata": {"uid": "another"}}),
            409,
            "Conflict",
        ),
        (OPERATIONS, json!({}), 400, "BadRequest"),
        (
            OPERATIONS,
            json!([{"op": "test", "path": "/spec/env/GREETING", "value": "secret"}]),
            422,
            "Invalid",
        ),
        (
            "application/strategic-merge-patch+json",
            json!({}),
            415,
            "UnsupportedMediaType",
        ),
        ("application/json", json!({}), 415, "UnsupportedMediaType"),
    ];
    for (media, patch, code, reason) in cases {
        let answer = patched(&server, media, &patch).await;
        let message = answer.failure(code, reason);
        assert!(
            !message.contains("secret") && !message.contains("hello"),
            "{message}"
        );
        if code == 415 {
            assert!(
                answer.headers["accept-patch"]
                    .to_str()
                    .unwrap()
                    .contains(MERGE)
            );
        }
    }
    assert!(server.fake.puts.lock().unwrap().is_empty());
    let missing = server
        .call(Method::PATCH, &format!("{V1}/tenants/nobody"), MERGE, "{}")
        .await;
    missing.failure(404, "NotFound");
    let host = server
        .call(Method::PATCH, &format!("{V1}/hosts/web1"), MERGE, "{}")
        .await;
    host.failure(405, "MethodNotAllowed");
}

/// Law 1: a change of another in between is not lost, and not in the way.
#[tokio::test]
async fn a_patch_is_made_anew_of_what_changed_in_between() {
    let server = Server::start().await;
    *server.fake.refuse.lock().unwrap() = Some(Refusal::Stale);
    let patch = json!({"metadata": {"labels": {"ring": "canary"}}});
    let answer = patched(&server, MERGE, &patch).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(server.fake.puts.lock().unwrap().len(), 2);
}
