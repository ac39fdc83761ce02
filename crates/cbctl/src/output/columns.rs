//! The columns of each kind.

use cb_core::api::{Kind, TenantStatus};
use jiff::Timestamp;

use super::age::age;
use super::table::{Table, or_none};
use crate::object::{Object, full_name};

/// How a table is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// More columns.
    pub(crate) wide: bool,
    /// The labels as a column.
    pub(crate) labels: bool,
    /// The kind before each name, for tables of several kinds.
    pub(crate) full_names: bool,
    /// The time, for ages.
    pub(crate) now: Timestamp,
}

/// Objects of one kind as a table.
pub(crate) fn table(kind: Kind, objects: &[Object], style: Style) -> Table {
    let (plain, wide): (&[&str], &[&str]) = match kind {
        Kind::Tenant => (
            &["NAME", "VERSION", "READY", "STATUS", "PORTS", "AGE"],
            &["DOMAINS", "RELEASE", "FILE"],
        ),
        Kind::Application => (
            &["NAME", "VERSIONS", "SERVICES", "AGE"],
            &["ROUTES", "DATABASE", "FILE"],
        ),
        Kind::Host => (&["NAME", "PORTS", "MANIFESTS"], &["STATE", "NGINX"]),
    };
    let mut headers = plain.to_vec();
    if style.wide {
        headers.extend(wide);
    }
    if style.labels {
        headers.push("LABELS");
    }
    let mut table = Table::new(headers);
    for object in objects {
        let name = if style.full_names {
            full_name(kind, object.name())
        } else {
            object.name().to_owned()
        };
        let (plain, wide) = match kind {
            Kind::Tenant => tenant(object, style.now),
            Kind::Application => application(object, style.now),
            Kind::Host => host(object),
        };
        let mut row = vec![name];
        row.extend(plain);
        if style.wide {
            row.extend(wide);
        }
        if style.labels {
            row.push(or_none(object.labels()));
        }
        table.row(row);
    }
    table
}

type Cells = (Vec<String>, Vec<String>);

fn tenant(object: &Object, now: Timestamp) -> Cells {
    let status = object.tenant_status();
    let ready = status.condition("Ready");
    let plain = vec![
        or_none(status.version.clone()),
        ready
            .map_or("Unknown", |ready| ready.status.as_str())
            .into(),
        state(object, &status),
        or_none(ports(&status)),
        age(object.created(), now),
    ];
    let wide = vec![
        or_none(joined(&object.texts("/spec/domains"))),
        or_none(status.release.clone()),
        or_none(object.file()),
    ];
    (plain, wide)
}

/// A tenant's state in one word: `Ready`, why it is not, or what happens.
pub(crate) fn state(object: &Object, status: &TenantStatus) -> String {
    if object.is_deleting() {
        return "Terminating".into();
    }
    let Some(ready) = status.condition("Ready") else {
        return "Pending".into();
    };
    // What was seen of an older spec says nothing about this one.
    if ready.observed_generation < object.generation() {
        return "Pending".into();
    }
    let drifted = status
        .condition("Drifted")
        .is_some_and(|drifted| drifted.status.as_str() == "True");
    if drifted {
        format!("{},Drifted", ready.reason)
    } else {
        ready.reason.clone()
    }
}

/// The ports in order.
fn ports(status: &TenantStatus) -> Option<String> {
    let mut ports: Vec<u16> = status.ports.values().copied().collect();
    ports.sort_unstable();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    (!ports.is_empty()).then(|| ports.join(","))
}

fn joined(texts: &[&str]) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join(","))
}

fn application(object: &Object, now: Timestamp) -> Cells {
    let field = |pointer: &str, name: &str| {
        let values = object.items(pointer).iter();
        let names: Vec<&str> = values.filter_map(|item| item[name].as_str()).collect();
        or_none(joined(&names))
    };
    let plain = vec![
        field("/spec/versions", "name"),
        field("/spec/services", "name"),
        age(object.created(), now),
    ];
    let routes: Vec<String> = object
        .items("/spec/routes")
        .iter()
        .filter_map(|route| {
            Some(format!(
                "{}={}",
                route["path"].as_str()?,
                route["service"].as_str()?
            ))
        })
        .collect();
    let routes = (!routes.is_empty()).then(|| routes.join(","));
    let wide = vec![
        or_none(routes),
        or_none(object.text("/spec/databaseFile")),
        or_none(object.file()),
    ];
    (plain, wide)
}

fn host(object: &Object) -> Cells {
    let number = |name: &str| object.value()["spec"]["ports"][name].as_u64();
    let ports = match (number("base"), number("stride"), number("slots")) {
        (Some(base), Some(stride), Some(slots)) => {
            // A range that ends above what JSON can say is no range.
            let end = slots.checked_mul(stride).and_then(|n| base.checked_add(n));
            end.map(|end| format!("{base}-{}", end.saturating_sub(1)))
        }
        _ => None,
    };
    let plain = vec![
        or_none(ports),
        or_none(object.text("/spec/paths/manifests")),
    ];
    let wide = vec![
        or_none(object.text("/spec/paths/state")),
        or_none(object.text("/spec/nginx/sites")),
    ];
    (plain, wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state_of(generation: u64, conditions: &serde_json::Value) -> String {
        let object = Object::new(json!({
            "metadata": {"name": "a", "generation": generation},
            "status": {"observedGeneration": 1, "conditions": conditions},
        }));
        state(&object, &object.tenant_status())
    }

    fn condition(kind: &str, status: &str, reason: &str) -> serde_json::Value {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    /// Law 8: a status of an older spec is not passed off as that of the new.
    #[test]
    fn the_state_is_about_the_newest_spec() {
        let ready = json!([condition("Ready", "True", "Ready")]);
        assert_eq!(state_of(1, &ready), "Ready");
        assert_eq!(state_of(2, &ready), "Pending");
        assert_eq!(state_of(1, &json!([])), "Pending");
        let drifted = json!([
            condition("Ready", "True", "Ready"),
            condition("Drifted", "True", "Detected")
        ]);
        assert_eq!(state_of(1, &drifted), "Ready,Drifted");
    }
}
