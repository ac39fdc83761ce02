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
        "/openapi/v2",
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
        assert!(late.failure(410, "Expired").contains("list again"));
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
