//! The requests for upgrades, backups and restores, and a tenant as it changes.

use cb_core::api::Kind;
use hyper::Method;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{collection, escaped};
use super::happenings::Changes;
use super::{Ask, Client, Error};

/// What became of what was asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted {
    /// The operation, `pending` if it did not begin yet, or `None` if there is
    /// nothing to do.
    pub(crate) operation: Option<String>,
    /// Why there is nothing to do.
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// The answer as it came.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

impl Accepted {
    /// The answer as it came.
    pub(crate) fn value(&self) -> Value {
        let mut out = self.rest.clone();
        out.insert("operation".into(), json!(self.operation));
        out.insert("message".into(), json!(self.message));
        Value::Object(out)
    }
}

impl Client {
    /// Running, desired, schema, available, last upgrade.
    pub(crate) async fn tenant_version(&self, tenant: &str) -> Result<Value, Error> {
        self.json(Ask::get(of(tenant, "version"))).await
    }

    /// The operation that is under way or was the last; null if none was.
    pub(crate) async fn operation(&self, tenant: &str) -> Result<Value, Error> {
        let mut answer: Value = self.json(Ask::get(of(tenant, "operation"))).await?;
        Ok(answer["operation"].take())
    }

    /// Asks for something: `what` is the last part of the path.
    pub(crate) async fn request(
        &self,
        tenant: &str,
        what: &str,
        body: &Value,
    ) -> Result<Accepted, Error> {
        self.json(post(of(tenant, what), body)).await
    }

    /// The backups, newest first.
    pub(crate) async fn backups(&self, tenant: &str) -> Result<Value, Error> {
        self.json(Ask::get(of(tenant, "backups"))).await
    }

    /// Deletes a backup.
    pub(crate) async fn delete_backup(
        &self,
        tenant: &str,
        backup: &str,
        force: bool,
    ) -> Result<(), Error> {
        let force = if force { "?force=true" } else { "" };
        let target = format!("{}{force}", of_backup(tenant, backup));
        let ask = Ask {
            method: Method::DELETE,
            ..Ask::get(target)
        };
        self.ask(ask).await.map(drop)
    }

    /// Whether a backup is good. A large one takes its time.
    pub(crate) async fn verify_backup(&self, tenant: &str, backup: &str) -> Result<Value, Error> {
        let target = format!("{}/verify", of_backup(tenant, backup));
        let answer = self.exchange(post(target, &json!({}))).await?;
        serde_json::from_slice(&answer.body).map_err(Error::Unreadable)
    }

    /// Brings a backup back from off the host. A large one takes its time.
    pub(crate) async fn fetch_backup(&self, tenant: &str, backup: &str) -> Result<Value, Error> {
        let target = format!("{}/fetch", of_backup(tenant, backup));
        let answer = self.exchange(post(target, &json!({}))).await?;
        serde_json::from_slice(&answer.body).map_err(Error::Unreadable)
    }

    /// The changes of a tenant, from what it is now.
    pub(crate) async fn watch(&self, tenant: &str) -> Result<Changes, Error> {
        let target = format!(
            "{}?watch=true&fieldSelector=metadata.name%3D{}",
            collection(Kind::Tenant),
            escaped(tenant)
        );
        self.changes(target).await
    }
}

fn of(tenant: &str, what: &str) -> String {
    format!("/api/tenants/{}/{what}", escaped(tenant))
}

fn of_backup(tenant: &str, backup: &str) -> String {
    of(tenant, &format!("backups/{}", escaped(backup)))
}

fn post(target: String, body: &Value) -> Ask {
    Ask {
        method: Method::POST,
        target,
        media: "application/json",
        body: Bytes::from(body.to_string()),
    }
}
