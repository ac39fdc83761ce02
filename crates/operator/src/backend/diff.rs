//! The difference of two tenants as text, without the values of environment
//! variables (law 11).

use cb_core::api::Tenant;
use serde_json::{Value, json};
use similar::TextDiff;

/// A unified diff of labels and spec; empty if they are equal.
pub(super) fn spec(before: Option<&Tenant>, after: Option<&Tenant>) -> String {
    if before.map(essence) == after.map(essence) {
        return String::new();
    }
    let (old, new) = hidden(before.map(essence), after.map(essence));
    let text = |value: Option<Value>| {
        value.map_or_else(String::new, |value| {
            // A tree of maps, lists and scalars can always be written.
            serde_yaml::to_string(&value).unwrap_or_default()
        })
    };
    let (old, new) = (text(old), text(new));
    TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(3)
        .header("live", "applied")
        .to_string()
}

fn essence(tenant: &Tenant) -> Value {
    json!({ "labels": tenant.metadata.labels, "spec": tenant.spec })
}

/// Hides the values under `spec.env`, and tells only that one changed.
fn hidden(mut before: Option<Value>, mut after: Option<Value>) -> (Option<Value>, Option<Value>) {
    let env = |value: &Option<Value>| {
        value
            .as_ref()
            .and_then(|v| v["spec"]["env"].as_object().cloned())
    };
    let old = env(&before).unwrap_or_default();
    if let Some(env) = after
        .as_mut()
        .and_then(|v| v.pointer_mut("/spec/env")?.as_object_mut())
    {
        for (name, value) in env {
            let changed = old.get(name).is_some_and(|before| before != value);
            *value = json!(if changed { "(changed)" } else { "(hidden)" });
        }
    }
    if let Some(env) = before
        .as_mut()
        .and_then(|v| v.pointer_mut("/spec/env")?.as_object_mut())
    {
        env.values_mut()
            .for_each(|value| *value = json!("(hidden)"));
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(env: &str) -> Tenant {
        let text = format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: a}}, \
             spec: {{application: cbapp, version: v1, env: {env}}}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn values_are_hidden_and_changes_are_told() {
        let (before, after) = (
            tenant("{A: one, B: two}"),
            tenant("{A: three, B: two, C: four}"),
        );
        let diff = spec(Some(&before), Some(&after));
        assert!(
            diff.contains("-    A: (hidden)") && diff.contains("+    A: (changed)"),
            "{diff}"
        );
        assert!(diff.contains("+    C: (hidden)"), "{diff}");
        for value in ["one", "two", "three", "four"] {
            assert!(!diff.contains(value), "{diff}");
        }
        assert_eq!(spec(Some(&before), Some(&before)), "");
        let (before, mut after) = (tenant("{}"), tenant("{}"));
        after.spec.suspend = true;
        let diff = spec(Some(&before), Some(&after));
        assert!(!diff.contains("env"), "{diff}");
    }
}
