//! The requests about rollouts.

use cb_core::rollout::Rollout;
use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use super::api::escaped;
use super::happenings::Changes;
use super::{Ask, Client, Error};

const ROLLOUTS: &str = "/operator/v1/rollouts";

impl Client {
    /// Starts a rollout.
    pub(crate) async fn start_rollout(&self, spec: &Value) -> Result<Value, Error> {
        self.json(post(ROLLOUTS.into(), spec)).await
    }

    /// `pause`, `resume` or `undo`.
    pub(crate) async fn tell_rollout(
        &self,
        id: &str,
        what: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        self.json(post(format!("{}/{what}", one(id)), body)).await
    }

    /// One rollout.
    pub(crate) async fn rollout(&self, id: &str) -> Result<Value, Error> {
        self.json(Ask::get(one(id))).await
    }

    /// All rollouts that are kept, oldest first.
    pub(crate) async fn rollouts(&self) -> Result<Value, Error> {
        self.json(Ask::get(ROLLOUTS.into())).await
    }

    /// The changes of a rollout, from what it is now.
    pub(crate) async fn watch_rollout(&self, id: &str) -> Result<Changes, Error> {
        let fields = escaped(&format!("id={id}"));
        let target = format!("{ROLLOUTS}?watch=true&fieldSelector={fields}");
        self.changes(target).await
    }
}

/// A rollout as the API shows it.
pub(crate) fn read(value: &Value) -> Result<Rollout, Error> {
    serde::Deserialize::deserialize(value).map_err(Error::Unreadable)
}

fn one(id: &str) -> String {
    format!("{ROLLOUTS}/{}", escaped(id))
}

fn post(target: String, body: &Value) -> Ask {
    Ask {
        method: Method::POST,
        target,
        media: "application/json",
        body: Bytes::from(body.to_string()),
    }
}
