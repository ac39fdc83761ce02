//! Objects as the API shows them: what a person wrote, with the metadata that
//! the operator adds, and the status.

use cb_core::api::{API_VERSION, Host, Kind};
use cb_core::digest;
use cb_core::manifest::AnyObject;
use cb_core::patch::Provenance;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::state::{ApplicationRecord, PublishedTenant};

/// The annotation that names the manifest, relative to the folder of
/// manifests. It is shown and never written into a manifest.
pub const MANIFEST_ANNOTATION: &str = "campaignbrain.io/manifest";

/// The annotation in which `kubectl apply` keeps what it sent. It too is shown
/// and not written into a manifest: it would hold all of it twice.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The metadata that Kubernetes' clients send back and a manifest must not
/// hold: it is the operator's to say.
const SERVER_SET: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// A tenant, at a revision of the store.
#[must_use]
pub fn tenant(published: &PublishedTenant, revision: u64) -> Value {
    let mut object = value(&published.tenant);
    let facts = Facts {
        kind: Kind::Tenant,
        revision,
        generation: published.generation,
        created: published.created.as_deref(),
        file: Some(&published.file),
    };
    facts.add_to(&mut object);
    show(&published.provenance, &mut object);
    if published.deleting {
        object["metadata"]["deletionTimestamp"] = deletion_time(published).into();
    }
    object
}

/// An Application, at a revision of the store.
#[must_use]
pub fn application(record: &ApplicationRecord, revision: u64) -> Value {
    let mut object = value(&record.application);
    let facts = Facts {
        kind: Kind::Application,
        revision,
        generation: record.generation,
        created: record.created.as_deref(),
        file: Some(&record.file),
    };
    facts.add_to(&mut object);
    show(&record.provenance, &mut object);
    object
}

/// The Host. It is read once, when the operator starts.
#[must_use]
pub fn host(host: &Host, revision: u64) -> Value {
    let mut object = value(host);
    let facts = Facts {
        kind: Kind::Host,
        revision,
        generation: 1,
        created: None,
        file: None,
    };
    facts.add_to(&mut object);
    object
}

/// What the manifest of an object says: the object as it is shown, without
/// what the operator adds.
#[must_use]
pub fn written(object: &AnyObject) -> Value {
    let mut object = match object {
        AnyObject::Tenant(tenant) => value(&**tenant),
        AnyObject::Application(application) => value(&**application),
        AnyObject::Host(host) => value(&**host),
    };
    strip(&mut object);
    object
}

/// A list of objects at one revision.
pub(super) fn list(kind: Kind, revision: u64, items: Vec<Value>) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": format!("{kind}List"),
        "metadata": {"resourceVersion": revision.to_string()},
        "items": items,
    })
}

/// Takes out of an object that a client sent what is not a person's to write:
/// the status and the metadata that the operator sets.
pub(super) fn strip(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    object.remove("status");
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for field in SERVER_SET {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(MANIFEST_ANNOTATION);
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// What the operator adds to `metadata`.
struct Facts<'a> {
    kind: Kind,
    revision: u64,
    generation: u64,
    created: Option<&'a str>,
    file: Option<&'a str>,
}

impl Facts<'_> {
    fn add_to(&self, object: &mut Value) {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        let name = metadata
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let uid = uid(self.kind, name, self.created.unwrap_or_default());
        metadata.insert("uid".into(), uid.into());
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        metadata.insert("generation".into(), self.generation.into());
        if let Some(created) = self.created {
            metadata.insert("creationTimestamp".into(), whole_seconds(created).into());
        }
        if let Some(file) = self.file {
            let annotations = metadata
                .entry("annotations")
                .or_insert_with(|| Value::Object(Map::new()));
            annotations[MANIFEST_ANNOTATION] = file.into();
        }
    }
}

/// Shows where the content came from.
fn show(provenance: &Provenance, object: &mut Value) {
    let metadata = &mut object["metadata"];
    if !provenance.managed_fields.is_empty() {
        metadata["managedFields"] = value(&provenance.managed_fields);
    }
    if let Some(last) = &provenance.last_applied {
        metadata["annotations"][LAST_APPLIED] = last.as_str().into();
    }
}

/// What an object that a client sent says was last applied.
pub(super) fn last_applied(object: &Value) -> Option<String> {
    let annotations = &object["metadata"]["annotations"];
    annotations[LAST_APPLIED].as_str().map(str::to_owned)
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("objects have text keys and plain values")
}

/// A UUID (version 8) that stays the same while the object exists, over
/// restarts too, and differs for an object of the same name made later.
pub(super) fn uid(kind: Kind, name: &str, created: &str) -> String {
    let hex = digest::of_parts([kind.as_str(), name, created].map(str::as_bytes));
    // The variant's two bits are `10`.
    let variant = match u8::from_str_radix(&hex[16..17], 16).unwrap_or(0) & 3 {
        0 => '8',
        1 => '9',
        2 => 'a',
        _ => 'b',
    };
    format!(
        "{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// A time as Kubernetes writes it.
fn whole_seconds(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// When the removal began is not recorded. The latest change of a condition is
/// the nearest that is known, and clients only ask whether there is a time.
fn deletion_time(published: &PublishedTenant) -> String {
    let conditions = published
        .tenant
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    let latest = conditions
        .map(|condition| condition.last_transition_time.as_str())
        .max();
    let time = latest
        .or(published.created.as_deref())
        .unwrap_or("1970-01-01T00:00:00Z");
    whole_seconds(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_uuid_and_belongs_to_one_object() {
        let first = uid(Kind::Tenant, "ky04", "2026-01-01T00:00:00Z");
        assert_eq!(first, uid(Kind::Tenant, "ky04", "2026-01-01T00:00:00Z"));
        assert_ne!(first, uid(Kind::Tenant, "ky04", "2026-01-02T00:00:00Z"));
        assert_ne!(
            first,
            uid(Kind::Application, "ky04", "2026-01-01T00:00:00Z")
        );
        let lengths: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&first[14..15], "8");
        assert!("89ab".contains(&first[19..20]), "{first}");
    }

    #[test]
    fn times_are_in_whole_seconds() {
        assert_eq!(
            whole_seconds("2026-01-01T00:00:00.123456Z"),
            "2026-01-01T00:00:00Z"
        );
    }

    #[test]
    fn what_the_operator_sets_is_taken_out_and_the_rest_stays() {
        let mut object = json!({
            "kind": "Tenant",
            "metadata": {
                "name": "ky04", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": null, "managedFields": [],
                "annotations": {(MANIFEST_ANNOTATION): "ky04.yaml"},
                "labels": {"state": "ky"},
            },
            "spec": {"status": "stays"},
            "status": {"version": "v1"},
        });
        strip(&mut object);
        let left = json!({
            "kind": "Tenant",
            "metadata": {"name": "ky04", "labels": {"state": "ky"}},
            "spec": {"status": "stays"},
        });
        assert_eq!(object, left);
    }
}
