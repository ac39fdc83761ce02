//! What is read: documents, lists and watches.

use std::time::Duration;

use super::*;
use crate::api::Backend as _;
use crate::api::tests::fake::{KY04, OH01};
use cb_core::types::TenantName;

#[tokio::test]
async fn the_documents_of_the_api() {
    let server = Server::start().await;
    let mut documents = String::new();
    for path in [
        "/version",
        "/api",
        "/apis",
        "/apis/campaignbrain.io",
        V1,
        "/apis/events.k8s.io/v1",
        &format!("{V1}/tenants"),
        &format!("{V1}/applications/cbapp"),
        &format!("{V1}/hosts"),
        &format!("{V1}/tenants/nobody"),
        "/openapi/v3",
        "/api/v1",
        "/openapi/v1",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        let (status, document) = (answer.status, stable(&answer.text));
        documents.push_str(&format!("GET {path}\n{status}\n{document}\n\n"));
    }
    insta::assert_snapshot!(documents);
}

#[tokio::test]
async fn health_is_plain_text_and_says_why_it_is_not_ready() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.text, "ok");
    assert_eq!(server.get("/readyz").await.text, "ok");
    *server.fake.not_ready.lock().unwrap() = Some("the folder is gone".into());
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("the folder is gone"));
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_selector_selects_and_a_broken_one_is_refused() {
    let server = Server::start().await;
    let names = async |query: &str| {
        let list = server.get(&format!("{V1}/tenants?{query}")).await.json();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("limit=500").await, ["ky04", "oh01"]);
    assert_eq!(names("labelSelector=state%20in%20(ky,oh)").await, ["ky04"]);
    assert_eq!(names("labelSelector=!state").await, ["oh01"]);
    assert_eq!(names("fieldSelector=metadata.name%3Doh01").await, ["oh01"]);
    let answer = server
        .get(&format!("{V1}/tenants?labelSelector=a%3E1"))
        .await;
    answer.failure(400, "BadRequest");
}

#[tokio::test]
async fn status_is_a_path_of_tenants_alone() {
    let server = Server::start().await;
    let whole = server.get(&format!("{V1}/tenants/ky04")).await;
    assert_eq!(
        server
            .get(&format!("{V1}/tenants/ky04/status"))
            .await
            .json(),
        whole.json()
    );
    server
        .get(&format!("{V1}/hosts/web1/status"))
        .await
        .failure(404, "NotFound");
    let head = server
        .call(Method::HEAD, &format!("{V1}/tenants/ky04"), "", "")
        .await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[tokio::test]
async fn tables_have_the_printer_columns() {
    let server = Server::start().await;
    let ask = |path: String| {
        let mut request = request(Method::GET, &path, "", "");
        let accept = TABLE.parse().unwrap();
        request.headers_mut().insert("accept", accept);
        server.send(request)
    };
    let table = ask(format!("{V1}/tenants")).await.json();
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&"Table".into(), &"meta.k8s.io/v1".into())
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[..3],
        ["ky04".into(), "cbapp".into(), Value::from("v0.2.0")]
    );
    assert_eq!(cells[4], "True");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = ask(format!("{V1}/tenants/oh01?includeObject=Object"))
        .await
        .json();
    assert_eq!(one["rows"][0]["object"]["spec"]["version"], "v0.2.0");
    let watch = ask(format!("{V1}/tenants?watch=true&timeoutSeconds=0")).await;
    let first: Value = serde_json::from_str(watch.text.lines().next().unwrap()).unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    ask(format!("{V1}/tenants/nobody"))
        .await
        .failure(404, "NotFound");
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = Server::start().await;
    let first = server.get(&format!("{V1}/tenants?limit=1")).await.json();
    assert_eq!(first["items"][0]["metadata"]["name"], "ky04");
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("{V1}/tenants?limit=1&continue={token}");
    let second = server.get(&path).await.json();
    assert_eq!(second["items"][0]["metadata"]["name"], "oh01");
    assert!(second["metadata"].get("continue").is_none());
    let revision = |list: &Value| list["metadata"]["resourceVersion"].clone();
    assert_eq!(revision(&first), revision(&second));
    let old = server.get(&format!("{V1}/tenants?continue=5.ky04")).await;
    old.failure(410, "Expired");
}

/// A client that lists by a watch is told when it has everything.
#[tokio::test]
async fn a_watch_says_when_it_has_told_what_there_is() {
    let server = Server::start().await;
    let path = format!(
        "{V1}/tenants?watch=true&timeoutSeconds=0&sendInitialEvents=true\
         &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let text = server.get(&path).await.text;
    let events: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]);
    let mark = &events[2]["object"];
    assert_eq!(
        mark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let list = server.get(&format!("{V1}/tenants")).await.json();
    assert_eq!(
        mark["metadata"]["resourceVersion"],
        list["metadata"]["resourceVersion"]
    );
    let alone = server
        .get(&format!("{V1}/tenants?watch=1&sendInitialEvents=1"))
        .await;
    alone.failure(422, "Invalid");
}

#[tokio::test]
async fn openapi_2_is_json_or_what_kubectl_reads() {
    let server = Server::start().await;
    let document = server.get("/openapi/v2").await.json();
    let of = |path: &str| document.pointer(path).cloned().unwrap_or_default();
    let version =
        "/definitions/io.campaignbrain.v1alpha1.Tenant/properties/spec/properties/version";
    assert_eq!(of(&format!("{version}/type")), "string");
    let patch = "/paths/~1apis~1campaignbrain.io~1v1alpha1~1tenants~1{name}/patch";
    assert_eq!(of(&format!("{patch}/parameters/0/name")), "dryRun");
    let mut proto = request(Method::GET, "/openapi/v2", "", "");
    let media = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    proto.headers_mut().insert("accept", media.parse().unwrap());
    let answer = server.open(proto).await;
    let given = media.replace('@', ".");
    assert_eq!(answer.headers()["content-type"], given);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    // Field 1, text of three letters.
    assert_eq!(&body[..5], b"\x0a\x032.0");
    let v3 = server.get("/openapi/v3").await.json();
    let url = v3["paths"]["apis/campaignbrain.io/v1alpha1"]["serverRelativeURL"].clone();
    let v3 = server.get(url.as_str().unwrap()).await.json();
    assert!(v3["components"]["schemas"]["io.campaignbrain.v1alpha1.Host"].is_object());
}

/// Reads lines of a watch until there are `count`.
async fn lines(response: &mut Response<hyper::body::Incoming>, count: usize) -> Vec<Value> {
    let mut text = String::new();
    while text.lines().count() < count {
        let frame = response.frame().await.expect("the watch goes on").unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_watch_goes_on_from_a_list_and_ends_with_the_server() {
    let server = Server::start().await;
    let list = server.get(&format!("{V1}/tenants")).await.json();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    server.fake.take(&OH01.replace("oh01", "oh02")).await;
    let path = format!("{V1}/tenants?watch=true&resourceVersion={revision}");
    let mut watch = server.open(request(Method::GET, &path, "", "")).await;
    server.fake.take(&KY04.replace("v0.2.0", "v0.3.0")).await;
    let name: TenantName = "oh02".parse().unwrap();
    server.fake.state().remove(&name).await.unwrap();
    let seen: Vec<_> = lines(&mut watch, 3)
        .await
        .iter()
        .map(|e| format!("{} {}", e["type"], e["object"]["metadata"]["name"]).replace('"', ""))
        .collect();
    assert_eq!(seen, ["ADDED oh02", "MODIFIED ky04", "DELETED oh02"]);
    server.stop.cancel();
    assert!(watch.frame().await.is_none(), "the watch ends in order");
    // The time that connections are given to end is not needed.
    tokio::time::pause();
    tokio::time::timeout(Duration::from_secs(4), server.served)
        .await
        .unwrap()
        .unwrap();
    assert!(!server.path.exists());
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_ends_in_time_and_can_be_too_late() {
    let server = Server::start().await;
    for plural in ["tenants", "applications", "hosts"] {
        let path = format!("{V1}/{plural}?watch=1&timeoutSeconds=0");
        let watch = server.get(&path).await;
        assert_eq!(watch.status, 200);
        let first: Value = serde_json::from_str(watch.text.lines().next().unwrap()).unwrap();
        assert_eq!(first["type"], "ADDED");
        let late = server.get(&format!("{path}&resourceVersion=5")).await;
        assert_eq!(late.status, 200);
        let late: Value = serde_json::from_str(&late.text).unwrap();
        assert_eq!(
            (&late["type"], &late["object"]["code"]),
            (&Value::from("ERROR"), &Value::from(410))
        );
        assert_eq!(late["object"]["reason"], "Expired");
    }
}

#[tokio::test]
async fn watches_leave_connections_for_others() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants?watch=true");
    let mut watches = Vec::new();
    for _ in 0..32 {
        watches.push(server.open(request(Method::GET, &path, "", "")).await);
    }
    let answer = server.get(&path).await;
    answer.failure(429, "TooManyRequests");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(server.get("/healthz").await.status, 200);
    // A client that leaves gives its place back.
    watches.clear();
    while server
        .open(request(Method::GET, &path, "", ""))
        .await
        .status()
        != 200
    {
        tokio::task::yield_now().await;
    }
}
