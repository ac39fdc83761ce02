//! Who may do what over the API: tokens, roles and scopes.
//!
//! Members of the socket's group may do everything; whoever comes over TCP has
//! a [`Token`], which names a [`Role`] and a [`Scope`]. What a request needs is
//! the API's to say. A token's secret is never kept: only its digest is, and as
//! the secret is 256 random bits, nobody finds it from that.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::selector::Selector;
use crate::types::{ObjectName, TenantName};

/// What a token begins with, so that scanners of repositories know one.
pub const SECRET_PREFIX: &str = "cbt_";

/// How much a token may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    View,
    /// Change tenants and Applications, and upgrade, back up and restore.
    Edit,
    /// Everything: tokens, the audit log and the source of manifests too.
    Admin,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Edit => "edit",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Role::View, Role::Edit, Role::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "a role is view, edit or admin".to_owned())
    }
}

/// Which tenants a token is for: all of them without a name and a selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scope {
    /// These tenants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantName>,
    /// Tenants with these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

impl Scope {
    /// Whether it is for every tenant, and so for the host.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.tenants.is_empty() && self.selector.is_none()
    }

    /// Why it is none, if so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match &self.selector {
            None => Ok(()),
            Some(_) if !self.tenants.is_empty() => {
                Err("a token is for named tenants or for those of a selector, not both".into())
            }
            Some(text) => text.parse::<Selector>().map(drop),
        }
    }

    /// Whether a tenant is in it; `label` gives the value of its label of a
    /// key. A selector that is broken selects nobody.
    pub fn has<'a>(&self, tenant: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        match &self.selector {
            None => self.is_all() || self.tenants.iter().any(|name| name.as_str() == tenant),
            Some(text) => text
                .parse::<Selector>()
                .is_ok_and(|selector| !selector.is_all() && selector.matches(label)),
        }
    }
}

/// A token, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Token {
    /// Its name, for people and the audit log.
    pub name: ObjectName,
    /// The SHA-256 digest of its secret.
    pub digest: String,
    /// How much it may do.
    pub role: Role,
    /// Which tenants it is for.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    pub scope: Scope,
    /// When it was made (RFC 3339, UTC).
    pub created: String,
    /// Until when it is good (RFC 3339, UTC); for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl Token {
    /// Whether it is no longer good.
    #[must_use]
    pub fn has_expired(&self, now: jiff::Timestamp) -> bool {
        self.expires.as_ref().is_some_and(|at| {
            // A time that cannot be read is over.
            at.parse::<jiff::Timestamp>().map_or(true, |at| at <= now)
        })
    }
}

/// The token in a file that a client keeps it in: all of its text but the blanks
/// around it. `None` if there is nothing else.
#[must_use]
pub fn token_in_file(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|token| !token.is_empty())
}

/// The header `Authorization` that shows a token.
#[must_use]
pub fn header_of(token: &str) -> String {
    format!("Bearer {token}")
}

/// The token that a header `Authorization` shows (RFC 6750, section 2.1); the
/// scheme may be written in any letters. `None` if it shows none.
#[must_use]
pub fn token_in_header(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    Some(token.trim()).filter(|token| is_bearer && !token.is_empty())
}

/// The digest of a secret, as it is kept.
#[must_use]
pub fn digest_of(secret: &str) -> String {
    digest::of_content(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(tenants: &[&str], selector: Option<&str>) -> Scope {
        Scope {
            tenants: tenants.iter().map(|name| name.parse().unwrap()).collect(),
            selector: selector.map(str::to_owned),
        }
    }

    fn has(scope: &Scope, tenant: &str) -> bool {
        scope.has(tenant, |key| (key == "ring").then_some("canary"))
    }

    #[test]
    fn a_scope_has_its_tenants_alone() {
        assert!(has(&Scope::default(), "a"));
        let named = scope(&["a", "b"], None);
        assert!(has(&named, "b") && !has(&named, "c"));
        assert!(has(&scope(&[], Some("ring=canary")), "a"));
        // What is broken or empty opens nothing.
        for closed in ["ring=stable", "ring in (", ""] {
            assert!(!has(&scope(&[], Some(closed)), "a"), "{closed}");
        }
        assert!(scope(&["a"], Some("x")).check().is_err());
        assert!(scope(&[], Some("a b")).check().is_err());
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let mut token = Token {
            name: "ci".parse().unwrap(),
            digest: digest_of("cbt_x"),
            role: Role::Edit,
            scope: Scope::default(),
            created: "2026-01-01T00:00:00Z".into(),
            expires: Some("2026-02-01T00:00:00Z".into()),
        };
        let at = |time: &str| time.parse().unwrap();
        assert!(!token.has_expired(at("2026-01-31T23:59:59Z")));
        assert!(token.has_expired(at("2026-02-01T00:00:00Z")));
        token.expires = Some("soon".into());
        assert!(token.has_expired(at("2026-01-01T00:00:00Z")));
        assert!(Role::View < Role::Edit && Role::Edit < Role::Admin);
    }
}
