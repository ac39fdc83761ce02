//! The requests about where the manifests come from.

use cb_core::source::SourceStatus;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Ask, Client, Error};

const PATH: &str = "/operator/v1/source";

/// Where the manifests come from: one of the two.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// The repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) git: Option<Git>,
    /// The folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
}

/// How far the repository is followed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Git {
    #[serde(flatten)]
    pub(crate) status: SourceStatus,
    /// One word for it.
    pub(crate) state: String,
    /// What to do about the newest commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Client {
    /// Where the manifests come from.
    pub(crate) async fn source(&self) -> Result<Shown, Error> {
        self.json(Ask::get(PATH.into())).await
    }

    /// Looks for a new commit.
    pub(crate) async fn sync_source(&self) -> Result<Shown, Error> {
        self.json(Ask {
            method: Method::POST,
            ..Ask::get(format!("{PATH}/sync"))
        })
        .await
    }

    /// Accepts the newest commit.
    pub(crate) async fn accept_commit(&self, commit: &str) -> Result<Shown, Error> {
        self.json(Ask {
            method: Method::POST,
            target: format!("{PATH}/accept"),
            media: "application/json",
            body: json!({"commit": commit}).to_string().into(),
        })
        .await
    }
}
