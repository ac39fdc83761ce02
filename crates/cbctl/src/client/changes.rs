//! The requests that change one field of an object, restart its services, or
//! ask what they use.

use cb_core::api::Kind;
use hyper::Method;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{Written, dry, escaped, one};
use super::{Ask, Client, Error};
use crate::object::Object;

/// How a patch says what it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// A piece of the object (RFC 7396).
    Merge,
    /// A list of operations (RFC 6902).
    Json,
}

impl PatchKind {
    fn media(self) -> &'static str {
        match self {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Json => "application/json-patch+json",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// Everything; the processor takes half a second to measure.
    All,
    /// The disk and memory.
    Disk,
}

/// What a tenant's services use, and what it has on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantUsage {
    pub(crate) tenant: String,
    pub(crate) services: Vec<ServiceUsage>,
    /// When it was last looked at.
    #[serde(default)]
    pub(crate) disk_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) disk_limit_bytes: Option<u64>,
}

/// What a service uses; what the host does not account for is absent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceUsage {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) cpu_millicores: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<TenantUsage>,
}

impl Client {
    /// Changes a part of an object.
    pub(crate) async fn patch(
        &self,
        (kind, name): (Kind, &str),
        how: PatchKind,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Written, Error> {
        self.write(Ask {
            method: Method::PATCH,
            target: format!("{}{}", one(kind, name), dry(dry_run)),
            media: how.media(),
            body: Bytes::from(patch.to_string()),
        })
        .await
    }

    /// Has every service of a tenant stopped and started again.
    pub(crate) async fn restart(&self, tenant: &str) -> Result<Object, Error> {
        let ask = Ask {
            method: Method::POST,
            ..Ask::get(format!("/operator/v1/tenants/{}/restart", escaped(tenant)))
        };
        Ok(Object::new(self.json(ask).await?))
    }

    /// What the services of all tenants use, and what tenants have on disk.
    pub(crate) async fn usage(&self, measure: Measure) -> Result<Vec<TenantUsage>, Error> {
        let target = match measure {
            Measure::All => "/operator/v1/usage",
            Measure::Disk => "/operator/v1/usage?cpu=false",
        };
        let items: Items = self.json(Ask::get(target.into())).await?;
        Ok(items.items)
    }
}
