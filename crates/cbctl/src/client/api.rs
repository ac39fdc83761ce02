//! The requests of the API by name, and what they answer.

use cb_core::api::{API_VERSION, Kind};
use cb_core::drift::DriftStatus;
use hyper::Method;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::happenings::Changes;
use super::{Ask, Client, Error};
use crate::object::Object;

/// What a write did or would do.
#[derive(Debug)]
pub(crate) struct Written {
    /// `created`, `configured` or `unchanged`.
    pub(crate) result: String,
    /// The object.
    pub(crate) object: Object,
}

/// A question for what would be done.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PlanRequest {
    /// Manifests that would be applied.
    pub(crate) manifests: Vec<PlanManifest>,
    /// The tenants that are asked about; all without.
    pub(crate) tenants: Option<Vec<String>>,
}

/// A manifest that would be applied.
#[derive(Debug, Serialize)]
pub(crate) struct PlanManifest {
    /// How messages name it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// What would be done.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PlanResponse {
    /// One for each tenant.
    pub(crate) plans: Vec<TenantPlan>,
    /// What is wrong with the manifests.
    pub(crate) errors: Vec<PlanError>,
    /// How the host itself differs.
    pub(crate) host: Vec<PlanDrift>,
}

/// What would be done for one tenant.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TenantPlan {
    pub(crate) tenant: String,
    pub(crate) change: String,
    pub(crate) spec_diff: String,
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) blocked: Vec<PlanBlocked>,
    pub(crate) hold: Option<String>,
    pub(crate) drift: Vec<PlanDrift>,
}

/// A difference on the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanDrift {
    /// What differs, as in the tenant's status.
    #[serde(flatten)]
    pub(crate) drift: DriftStatus,
    /// A unified diff of a changed file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) diff: String,
}

/// One thing that would be done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PlanStep {
    pub(crate) text: String,
    pub(crate) reason: String,
}

/// Something that would have to be done but must not be.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PlanBlocked {
    pub(crate) aspect: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Something wrong with a manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PlanError {
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    pub(crate) field: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

impl Client {
    /// The objects of a kind, all or those of a label selector.
    pub(crate) async fn list(
        &self,
        kind: Kind,
        selector: Option<&str>,
    ) -> Result<Vec<Object>, Error> {
        Ok(self.list_at(kind, selector).await?.0)
    }

    /// As [`Client::list`], with the revision to watch from.
    pub(crate) async fn list_at(
        &self,
        kind: Kind,
        selector: Option<&str>,
    ) -> Result<(Vec<Object>, String), Error> {
        let query = selector.map_or_else(String::new, |selector| {
            format!("?labelSelector={}", escaped(selector))
        });
        let target = format!("{}{query}", collection(kind));
        let list: List = self.json(Ask::get(target)).await?;
        let objects = list.items.into_iter().map(Object::new).collect();
        Ok((objects, list.metadata.resource_version))
    }

    /// The changes of a kind's objects from a revision.
    pub(crate) async fn watch_from(
        &self,
        kind: Kind,
        selector: Option<&str>,
        revision: &str,
    ) -> Result<Changes, Error> {
        let labels = selector.map_or_else(String::new, |selector| {
            format!("&labelSelector={}", escaped(selector))
        });
        let target = format!(
            "{}?watch=true&resourceVersion={}{labels}",
            collection(kind),
            escaped(revision)
        );
        self.changes(target).await
    }

    /// One object.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Object, Error> {
        Ok(Object::new(self.json(Ask::get(one(kind, name))).await?))
    }

    /// One object, or `None` if there is none of this name.
    pub(crate) async fn find(&self, kind: Kind, name: &str) -> Result<Option<Object>, Error> {
        match self.get(kind, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_refused_as("NotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object or replaces it, with the text of its manifest.
    pub(crate) async fn put(
        &self,
        (kind, name): (Kind, &str),
        text: &str,
        dry_run: bool,
    ) -> Result<Written, Error> {
        self.write(Ask {
            method: Method::PUT,
            target: format!("{}{}", one(kind, name), dry(dry_run)),
            media: "application/yaml",
            body: Bytes::copy_from_slice(text.as_bytes()),
        })
        .await
    }

    /// A request that writes an object.
    pub(super) async fn write(&self, ask: Ask) -> Result<Written, Error> {
        let answer = self.ask(ask).await?;
        let result = answer
            .headers
            .get("x-cb-result")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("configured")
            .to_owned();
        let object = serde_json::from_slice(&answer.body).map_err(Error::Unreadable)?;
        Ok(Written {
            result,
            object: Object::new(object),
        })
    }

    /// Removes an object.
    pub(crate) async fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<(), Error> {
        let ask = Ask {
            method: Method::DELETE,
            ..Ask::get(format!("{}{}", one(kind, name), dry(dry_run)))
        };
        self.ask(ask).await.map(drop)
    }

    /// What would be done.
    pub(crate) async fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, Error> {
        let body = serde_json::to_vec(request).expect("texts can always be written");
        self.json(Ask {
            method: Method::POST,
            target: "/operator/v1/plan".into(),
            media: "application/json",
            body: body.into(),
        })
        .await
    }

    /// The kinds of objects of a group's version, as discovery shows them.
    pub(crate) async fn resources(&self, group_version: &str) -> Result<Value, Error> {
        self.json(Ask::get(format!("/apis/{group_version}"))).await
    }

    /// The preferred version of every group that the API has.
    pub(crate) async fn groups(&self) -> Result<Vec<String>, Error> {
        let groups: Value = self.json(Ask::get("/apis".into())).await?;
        let groups = groups["groups"].as_array();
        Ok(groups
            .into_iter()
            .flatten()
            .filter_map(|group| group["preferredVersion"]["groupVersion"].as_str())
            .map(str::to_owned)
            .collect())
    }

    /// The operator's version.
    pub(crate) async fn version(&self) -> Result<Value, Error> {
        self.json(Ask::get("/version".into())).await
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        serde_json::from_slice(&self.ask(ask).await?.body).map_err(Error::Unreadable)
    }
}

pub(super) fn collection(kind: Kind) -> String {
    format!("/apis/{API_VERSION}/{}", kind.plural())
}

pub(super) fn one(kind: Kind, name: &str) -> String {
    format!("{}/{}", collection(kind), escaped(name))
}

pub(super) fn dry(dry_run: bool) -> &'static str {
    if dry_run { "?dryRun=All" } else { "" }
}

/// A text as part of a URL's path or query.
pub(super) fn escaped(text: &str) -> String {
    // `.` and `..` would be steps of the path.
    let dots = text.bytes().all(|byte| byte == b'.');
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b'.' if !dots => out.push('.'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 10: a name from the command line stays one part of the path.
    #[test]
    fn names_are_one_part_of_the_path() {
        assert_eq!(
            one(Kind::Tenant, "ky04"),
            "/apis/campaignbrain.io/v1alpha1/tenants/ky04"
        );
        assert_eq!(escaped("a/../b?c#d"), "a%2F..%2Fb%3Fc%23d");
        assert_eq!(escaped(".."), "%2E%2E");
        assert_eq!(escaped("ring in (a,b)"), "ring%20in%20%28a%2Cb%29");
        assert_eq!(escaped("ä"), "%C3%A4");
    }
}
