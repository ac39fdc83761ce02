//! What all objects share: `metadata`, conditions and the object traits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::types::{ObjectName, TenantName};

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// One customer's instance.
    Tenant,
    /// The application that tenants run.
    Application,
    /// The machine.
    Host,
}

impl Kind {
    /// All kinds, in the order they are listed.
    pub const ALL: [Kind; 3] = [Kind::Tenant, Kind::Application, Kind::Host];

    /// The kind as `kind:` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Tenant => "Tenant",
            Kind::Application => "Application",
            Kind::Host => "Host",
        }
    }

    /// The resource name in URLs and on the command line.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Tenant => "tenants",
            Kind::Application => "applications",
            Kind::Host => "hosts",
        }
    }

    /// The name of one such object in messages.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Kind::Tenant => "tenant",
            Kind::Application => "application",
            Kind::Host => "host",
        }
    }

    /// Short names that the command line takes.
    #[must_use]
    pub fn short_names(self) -> &'static [&'static str] {
        match self {
            Kind::Tenant => &["tn"],
            Kind::Application => &["app"],
            Kind::Host => &[],
        }
    }

    /// Finds a kind by its kind, plural, singular or short name, in any case.
    #[must_use]
    pub fn find(text: &str) -> Option<Kind> {
        let text = text.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| {
            text == kind.singular()
                || text == kind.plural()
                || kind.short_names().contains(&text.as_str())
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object a person writes: it has a kind, a name and a spec.
pub trait Object: Serialize + DeserializeOwned + JsonSchema {
    /// The type of `spec`.
    type Spec: Serialize + PartialEq;
    /// The object's kind.
    const KIND: Kind;
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `spec`.
    fn spec(&self) -> &Self::Spec;
}

/// Data that names and describes a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantMeta {
    /// The tenant's name (its slug). It never changes: a file with another
    /// name is another tenant.
    pub name: TenantName,
    /// Labels, for selecting tenants.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations: notes for people and tools; the operator does not read
    /// them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Data that names and describes an Application or a Host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// The object's name.
    pub name: ObjectName,
    /// Labels, for selecting objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations: notes for people and tools; the operator does not read
    /// them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The value of `apiVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// `campaignbrain.io/v1alpha1`
    #[default]
    #[serde(rename = "campaignbrain.io/v1alpha1")]
    V1alpha1,
}

/// One aspect of an object's state, as Kubernetes' `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect, in CamelCase.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The generation of the spec that this was observed for.
    pub observed_generation: u64,
    /// When `status` last changed (RFC 3339, UTC).
    pub last_transition_time: String,
    /// A single CamelCase word that programs can test.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be determined.
    Unknown,
}

impl ConditionStatus {
    /// `True`, `False` or `Unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        }
    }
}
