//! What the API offers, in Kubernetes' discovery documents.

use cb_core::api::{API_VERSION, GROUP, Kind, VERSION};
use serde_json::{Value, json};

/// `/api`: the core group, of which events are here.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(super) fn groups() -> Value {
    let mut groups = [group(), super::events::group()];
    for group in groups.iter_mut().filter_map(Value::as_object_mut) {
        // In a list, Kubernetes leaves these out.
        group.remove("kind");
        group.remove("apiVersion");
    }
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/campaignbrain.io`.
pub(super) fn group() -> Value {
    let version = json!({"groupVersion": API_VERSION, "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// `/apis/campaignbrain.io/v1alpha1`.
pub(super) fn resources() -> Value {
    let mut resources = Vec::new();
    for kind in Kind::ALL {
        resources.push(json!({
            "name": kind.plural(),
            "singularName": kind.singular(),
            "namespaced": false,
            "kind": kind.as_str(),
            "shortNames": kind.short_names(),
            "categories": ["cb"],
            "verbs": match kind {
                Kind::Host => vec!["get", "list", "watch"],
                Kind::Tenant | Kind::Application => {
                    vec!["create", "delete", "get", "list", "patch", "update", "watch"]
                }
            },
        }));
        if kind == Kind::Tenant {
            resources.push(json!({
                "name": "tenants/status",
                "singularName": "",
                "namespaced": false,
                "kind": kind.as_str(),
                "verbs": ["get"],
            }));
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": resources,
    })
}

/// `/version`. kubectl wants to know which Kubernetes' ways this has.
pub(super) fn version() -> Value {
    json!({
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
