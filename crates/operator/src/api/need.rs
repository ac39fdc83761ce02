//! What a request needs: which role, and for what.
//!
//! Pure: it looks at the method and the path alone, so that a path that nobody
//! thought of is an administrator's.

use axum::http::Method;
use cb_core::access::Role;
use cb_core::api::{API_VERSION, GROUP, VERSION};

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: whoever reaches the address may ask.
    Nothing,
    /// Any token that is good.
    Token,
    /// A role.
    Role(Role, On),
}

/// What the role is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum On {
    /// One tenant.
    Tenant(String),
    /// One tenant that is written: what is written is judged too, and the
    /// tenant may be new.
    Written(String),
    /// A tenant that may be new: the write itself is judged.
    NewTenant,
    /// Tenants, or what happened to them, of which those in the scope are
    /// given.
    Tenants,
    /// What every tenant needs to know.
    Shared,
    /// The host.
    Host,
}

impl Need {
    /// What a request needs.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let reads = method == Method::GET || method == Method::HEAD;
        if path.contains('%') {
            // No name needs it, and what is judged must be what is done.
            return Need::Role(Role::Admin, On::Host);
        }
        let role = if reads { Role::View } else { Role::Edit };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            ["livez" | "healthz" | "readyz"] => Need::Nothing,
            ["version" | "api" | "apis"]
            | ["api", "v1"]
            | ["apis", _]
            | ["apis", _, _]
            | ["openapi", ..]
                if reads =>
            {
                Need::Token
            }
            [
                "apis",
                "authorization.k8s.io",
                "v1",
                "selfsubjectaccessreviews",
            ] => Need::Token,
            ["apis", "events.k8s.io", "v1", "events"]
            | [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                "default",
                "events",
            ]
            | ["api", "v1", "events"]
            | ["api", "v1", "namespaces", "default", "events"]
                if reads =>
            {
                Need::Role(Role::View, On::Tenants)
            }
            ["apis", GROUP, VERSION, "tenants", name]
                if method == Method::PUT || method == Method::PATCH =>
            {
                Need::Role(role, On::Written((*name).to_owned()))
            }
            ["apis", GROUP, VERSION, rest @ ..] => objects(reads, role, rest),
            ["api", "tenants", name, ..] | ["operator", "v1", "tenants", name, ..] => {
                Need::Role(role, On::Tenant((*name).to_owned()))
            }
            // It changes nothing, but says what is on the host.
            ["operator", "v1", "plan"] => Need::Role(Role::View, On::Host),
            ["operator", "v1", "rollouts", ..] => Need::Role(role, On::Host),
            ["operator", "v1", "access" | "audit" | "tokens", ..] => {
                Need::Role(Role::Admin, On::Host)
            }
            _ if reads => Need::Role(Role::View, On::Host),
            _ => Need::Role(Role::Admin, On::Host),
        }
    }
}

fn objects(reads: bool, role: Role, path: &[&str]) -> Need {
    let on = match path {
        ["tenants"] if reads => On::Tenants,
        ["tenants"] => On::NewTenant,
        ["tenants", name, ..] => On::Tenant((*name).to_owned()),
        ["applications", ..] if reads => On::Shared,
        _ => On::Host,
    };
    Need::Role(role, on)
}

/// What a question like `kubectl auth can-i patch tenants/ky04` is about, as
/// the request that it asks about.
pub(super) fn asked(verb: &str, (group, resource): (&str, &str), name: &str) -> Option<Need> {
    let method = match verb {
        "get" | "list" | "watch" => Method::GET,
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        _ => return Some(Need::Role(Role::Admin, On::Host)),
    };
    let path = match (group, resource, name) {
        (GROUP, "tenants" | "applications" | "hosts", "") => {
            format!("/apis/{API_VERSION}/{resource}")
        }
        (GROUP, "tenants" | "applications" | "hosts", name) => {
            format!("/apis/{API_VERSION}/{resource}/{name}")
        }
        ("" | "events.k8s.io", "events", _) => "/api/v1/events".to_owned(),
        _ => return None,
    };
    let need = Need::of(&method, &path);
    match (need, name) {
        // Without a name, every tenant is meant.
        (Need::Role(role @ Role::Edit, On::NewTenant | On::Host), "") if verb != "create" => {
            Some(Need::Role(role, On::Host))
        }
        (need, _) => Some(need),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_needs_its_role() {
        let of = |method: &str, path: &str| Need::of(&method.parse().unwrap(), path);
        let tenant = |role| Need::Role(role, On::Tenant("ky04".into()));
        let base = "/apis/campaignbrain.io/v1alpha1";
        for (method, path, need) in [
            ("GET", "/readyz".to_owned(), Need::Nothing),
            ("GET", base.to_owned(), Need::Token),
            ("GET", "/openapi/v2".into(), Need::Token),
            (
                "GET",
                format!("{base}/tenants"),
                Need::Role(Role::View, On::Tenants),
            ),
            (
                "POST",
                format!("{base}/tenants"),
                Need::Role(Role::Edit, On::NewTenant),
            ),
            (
                "GET",
                format!("{base}/tenants/ky04/status"),
                tenant(Role::View),
            ),
            (
                "PATCH",
                format!("{base}/tenants/ky04"),
                Need::Role(Role::Edit, On::Written("ky04".into())),
            ),
            (
                "DELETE",
                format!("{base}//tenants/ky04"),
                tenant(Role::Edit),
            ),
            (
                "GET",
                format!("{base}/tenants/ky%304"),
                Need::Role(Role::Admin, On::Host),
            ),
            (
                "GET",
                format!("{base}/applications/x"),
                Need::Role(Role::View, On::Shared),
            ),
            (
                "PUT",
                format!("{base}/applications/x"),
                Need::Role(Role::Edit, On::Host),
            ),
            (
                "GET",
                format!("{base}/hosts"),
                Need::Role(Role::View, On::Host),
            ),
            (
                "POST",
                "/api/tenants/ky04/upgrade".into(),
                tenant(Role::Edit),
            ),
            (
                "POST",
                "/operator/v1/plan".into(),
                Need::Role(Role::View, On::Host),
            ),
            (
                "POST",
                "/operator/v1/rollouts".into(),
                Need::Role(Role::Edit, On::Host),
            ),
            (
                "POST",
                "/operator/v1/source/accept".into(),
                Need::Role(Role::Admin, On::Host),
            ),
            (
                "GET",
                "/operator/v1/tokens".into(),
                Need::Role(Role::Admin, On::Host),
            ),
            ("GET", "/metrics".into(), Need::Role(Role::View, On::Host)),
            // What nobody thought of.
            (
                "POST",
                "/new/thing".into(),
                Need::Role(Role::Admin, On::Host),
            ),
            ("DELETE", base.to_owned(), Need::Role(Role::Edit, On::Host)),
        ] {
            assert_eq!(of(method, &path), need, "{method} {path}");
        }
    }
}
