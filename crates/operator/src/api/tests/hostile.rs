//! Requests that are wrong, by mistake or on purpose.

use std::time::Duration;

use super::*;
use crate::api::tests::fake::KY04;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const SECRET: &str = "hunter2";

#[tokio::test]
async fn paths_and_methods_that_there_are_not() {
    let server = Server::start().await;
    for path in [
        "/",
        "/apis/",
        "/apis/apps/v1",
        "/apis/campaignbrain.io/v1/tenants",
        &format!("{V1}/pods"),
        &format!("{V1}/tenants/ky04/scale"),
        &format!("{V1}/tenants/"),
        &format!("{V1}/tenants/../../../etc/passwd"),
        &format!("{V1}/tenants/..%2f..%2fetc"),
        &format!("{V1}/tenants/%ff"),
        &format!("{V1}/tenants/%00"),
        &format!("{V1}/tenants/KY04"),
    ] {
        server.get(path).await.failure(404, "NotFound");
    }
    let path = format!("{V1}/tenants/ky04");
    let answer = server
        .call(Method::POST, &path, "application/json", "{}")
        .await;
    answer.failure(405, "MethodNotAllowed");
    let allow = answer.headers["allow"].to_str().unwrap();
    assert!(
        ["GET", "PUT", "DELETE"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
    let answer = server
        .call(Method::DELETE, &format!("{V1}/tenants"), "", "")
        .await;
    answer.failure(405, "MethodNotAllowed");
    server
        .get("/operator/v1/plan")
        .await
        .failure(405, "MethodNotAllowed");
}

#[tokio::test]
async fn media_types_that_are_not_spoken() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants/ky04");
    for media in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
    ] {
        server
            .call(Method::PUT, &path, media, KY04)
            .await
            .failure(415, "UnsupportedMediaType");
    }
    let mut html = request(Method::GET, &path, "", "");
    html.headers_mut()
        .insert("accept", "text/html".parse().unwrap());
    server.send(html).await.failure(406, "NotAcceptable");
    assert!(server.fake.puts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_name_must_be_one_and_the_same() {
    let server = Server::start().await;
    let put = async |name: &str, text: &str| {
        server
            .call(Method::PUT, &format!("{V1}/tenants/{name}"), YAML, text)
            .await
    };
    put("ky05", KY04).await.failure(400, "BadRequest");
    let hostile = KY04.replace("name: ky04", "name: ../../etc/cron.d/x");
    put("..%2F..%2Fetc%2Fcron.d%2Fx", &hostile)
        .await
        .failure(422, "Invalid");
    server
        .call(Method::POST, &format!("{V1}/tenants"), YAML, &hostile)
        .await
        .failure(422, "Invalid");
    put("ky04", &KY04.replace("name: ky04", "name: 4"))
        .await
        .failure(400, "BadRequest");
    let wrong_kind = server
        .call(Method::PUT, &format!("{V1}/applications/ky04"), YAML, KY04)
        .await;
    assert!(wrong_kind.failure(400, "BadRequest").contains("Tenant"));
    assert!(server.fake.puts.lock().unwrap().is_empty());
}

/// Law 11: no value of the body is in the answer.
#[tokio::test]
async fn broken_bodies_are_refused_and_not_repeated() {
    let server = Server::start().await;
    let path = format!("{V1}/tenants/ky04");
    let secret = KY04.replace("hello", SECRET);
    for (media, body) in [
        (
            JSON,
            format!("{{\"spec\": {{\"env\": {{\"A\": \"{SECRET}\"}}"),
        ),
        (JSON, format!("{{\"a\": \"{SECRET}\"}} trailing")),
        (JSON, format!("\"{SECRET}\"")),
        (JSON, "[]".into()),
        (JSON, "{\"metadata\": []}".into()),
        (JSON, "null".into()),
        (JSON, String::new()),
        (JSON, "[".repeat(100_000)),
        (YAML, secret.replace("  env:\n", "  env:\n\t")),
        (YAML, format!("{secret}---\n{secret}")),
        (YAML, secret.replace("GREETING:", "GREETING: [")),
        (YAML, "# nothing\n".into()),
        (YAML, "a: &a [*a]".into()),
        (YAML, SECRET.to_owned()),
    ] {
        let answer = server.call(Method::PUT, &path, media, &body).await;
        answer.failure(400, "BadRequest");
        assert!(!answer.text.contains(SECRET), "{}", answer.text);
    }
    for body in [
        format!("\"{SECRET}\""),
        format!("{{\"manifests\": \"{SECRET}\"}}"),
        format!("{{\"{SECRET}\": 1}}"),
    ] {
        let answer = server
            .call(Method::POST, "/operator/v1/plan", JSON, &body)
            .await;
        answer.failure(400, "BadRequest");
        assert!(!answer.text.contains(SECRET), "{}", answer.text);
    }
    assert!(server.fake.puts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_huge_body_is_refused_and_the_client_hears_it() {
    let server = Server::start().await;
    let body = format!("{KY04}#{}", "x".repeat(3 << 20));
    let answer = server
        .call(Method::PUT, &format!("{V1}/tenants/ky04"), YAML, &body)
        .await;
    answer.failure(413, "RequestEntityTooLarge");
    let answer = server
        .call(Method::DELETE, &format!("{V1}/tenants/ky04"), JSON, &body)
        .await;
    answer.failure(413, "RequestEntityTooLarge");
    assert!(server.fake.deletes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn options_that_make_no_sense_change_nothing() {
    let server = Server::start().await;
    for query in [
        "dryRun=all",
        "dryRun=false",
        "dryRun=All&dryRun=None",
        "dryRun=",
    ] {
        let path = format!("{V1}/tenants/ky04?{query}");
        server
            .call(Method::PUT, &path, YAML, KY04)
            .await
            .failure(422, "Invalid");
        server
            .call(Method::DELETE, &path, "", "")
            .await
            .failure(422, "Invalid");
    }
    for query in [
        "watch=maybe",
        "watch=true&resourceVersion=x",
        "watch=true&timeoutSeconds=-1",
    ] {
        server
            .get(&format!("{V1}/tenants?{query}"))
            .await
            .failure(400, "BadRequest");
    }
    server
        .get(&format!("{V1}/tenants?continue=abc"))
        .await
        .failure(400, "BadRequest");
    let initial = format!("{V1}/tenants?watch=true&sendInitialEvents=true");
    server.get(&initial).await.failure(422, "Invalid");
    assert!(server.fake.puts.lock().unwrap().is_empty());
    assert!(server.fake.deletes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn clients_that_hang_keep_neither_others_nor_the_end() {
    let server = Server::start().await;
    let mut hung = Vec::new();
    for begin in [
        "",
        "GET /hea",
        "PUT /apis/campaignbrain.io/v1alpha1/tenants/ky04 HTTP/1.1\r\nhost: o\r\ncontent-type: application/yaml\r\ncontent-length: 9\r\n\r\nab",
    ] {
        for _ in 0..20 {
            let mut stream = server.connect().await;
            stream.write_all(begin.as_bytes()).await.unwrap();
            hung.push(stream);
        }
    }
    assert_eq!(server.get("/healthz").await.text, "ok");
    tokio::time::pause();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(6), server.served)
        .await
        .unwrap()
        .unwrap();
    assert!(!server.path.exists());
    for stream in &mut hung {
        // Whatever it is told, it is told that this is the end.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn clients_that_hang_are_let_go_in_time() {
    let server = Server::start().await;
    let mut hung = Vec::new();
    for _ in 0..64 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /healthz HTT").await.unwrap();
        hung.push(stream);
    }
    // Every place is taken; the clock runs on while all wait.
    tokio::time::pause();
    let answer = tokio::time::timeout(Duration::from_secs(60), server.get("/healthz")).await;
    assert_eq!(answer.expect("a place is free again").text, "ok");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = format!(
        "PUT {V1}/tenants/ky04 HTTP/1.1\r\nhost: o\r\ncontent-type: {YAML}\r\ncontent-length: 99\r\n\r\nab"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::pause();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(90), read)
        .await
        .expect("an answer")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"reason\":\"Timeout\""), "{answer}");
}
