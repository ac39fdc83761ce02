//! Metrics over the socket.

use super::*;
use crate::metrics::CONTENT_TYPE;

#[tokio::test]
async fn metrics_are_text_and_count_every_answer() {
    let server = Server::start().await;
    server.get("/version").await;
    server.get("/nowhere").await;
    server.call(Method::POST, "/version", "", "").await;
    server.call(Method::DELETE, "/metrics", "", "").await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], CONTENT_TYPE);
    for line in [
        r#"cb_api_requests_total{method="GET",code="200"} 1"#,
        r#"cb_api_requests_total{method="GET",code="404"} 1"#,
        r#"cb_api_requests_total{method="POST",code="405"} 1"#,
        r#"cb_api_requests_total{method="DELETE",code="405"} 1"#,
    ] {
        let text = &answer.text;
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}
