//! Where the manifests come from, on a host that reads a folder.

use serde_json::json;

use super::*;

const PATH: &str = "/operator/v1/source";

/// Law 12: what cannot be done here says what the host does instead.
#[tokio::test]
async fn a_folder_is_shown_and_no_commit_taken() {
    let server = Server::start().await;
    let shown = server.get(PATH).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json(), json!({"folder": "/etc/cb/manifests"}));
    let commit = json!({"commit": "a".repeat(40)}).to_string();
    let media = "application/json";
    for (path, body) in [("sync", ""), ("accept", commit.as_str())] {
        let path = format!("{PATH}/{path}");
        let answer = server.call(Method::POST, &path, media, body).await;
        let message = answer.failure(409, "Conflict");
        assert!(
            message.contains("the files in /etc/cb/manifests"),
            "{message}"
        );
    }
}
