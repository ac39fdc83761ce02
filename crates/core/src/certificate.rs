//! Certificates of tenants' sites: what was seen of them, which one is served,
//! and what has to be said of it.
//!
//! A certificate and its key are used as one, a [`Pair`]. The host reads and
//! checks the pair that the manifest names, or that was issued, and those that
//! it keeps from before; [`choose`] picks the one to serve, so that a pair that
//! is broken, or half renewed, takes nothing down. What must not live here:
//! reading files and parsing certificates.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::api::{ConditionStatus, Tenant};
use crate::digest;
use crate::observed::Secret;
use crate::status::ProblemReason;
use crate::types::DomainName;

/// The reasons of the condition `CertificateValid` that a person is told of.
pub const ALERTS: [&str; 4] = [INVALID, EXPIRED, EXPIRING, NOT_ISSUED];
/// The condition.
pub const CONDITION: &str = "CertificateValid";

const INVALID: &str = ProblemReason::CertificateInvalid.as_str();
const EXPIRED: &str = "CertificateExpired";
const EXPIRING: &str = "CertificateExpiring";
const NOT_ISSUED: &str = "CertificateNotIssued";
const PENDING: &str = "CertificatePending";
const VALID: &str = "Valid";

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Since when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The domains it is for, lower case; `*.` at the beginning stands for one
    /// label.
    pub names: Vec<String>,
    /// Whether it had expired when it was looked at.
    pub expired: bool,
}

impl Facts {
    /// Whether it is for this domain.
    #[must_use]
    pub fn covers(&self, domain: &DomainName) -> bool {
        let domain = domain.as_str();
        let below = domain.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            name == domain
                || name
                    .strip_prefix("*.")
                    .is_some_and(|parent| Some(parent) == below)
        })
    }

    /// The part of these domains that it is not for.
    pub fn missing<'a>(&self, domains: &'a [DomainName]) -> Vec<&'a DomainName> {
        domains
            .iter()
            .filter(|domain| !self.covers(domain))
            .collect()
    }
}

/// A certificate with its chain and its key, which were checked to belong
/// together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What the certificate says.
    pub facts: Facts,
    /// Chain and key in PEM form.
    pub pem: Secret,
}

/// What was seen of a tenant's certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The pair that the manifest names, or that was issued; an error says why
    /// it cannot be used. Absent if nothing was issued yet.
    pub given: Option<Result<Pair, String>>,
    /// The pairs that the operator keeps for the tenant's site.
    pub kept: Vec<Pair>,
}

/// Which pair is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The pair; none if there is no good one.
    pub pair: Option<&'a Pair>,
    /// Why it is not the one that the manifest names.
    pub trouble: Option<String>,
}

/// Picks the pair to serve for a tenant with `spec.tls`: the given one, or else
/// the one of those that are kept that is valid the longest. A given pair that
/// has expired does not replace one that has not.
#[must_use]
pub fn choose<'a>(tenant: &Tenant, seen: &'a Certificates) -> Choice<'a> {
    let acme = tenant.spec.tls.as_ref().is_some_and(|tls| tls.acme);
    let kept = seen
        .kept
        .iter()
        .filter(|pair| misfit(tenant, acme, &pair.facts).is_none())
        .max_by_key(|pair| pair.facts.not_after);
    let instead = |trouble: String| Choice {
        pair: kept,
        trouble: Some(trouble),
    };
    match &seen.given {
        None => Choice {
            pair: kept,
            trouble: None,
        },
        Some(Err(error)) => instead(error.clone()),
        Some(Ok(given)) => match misfit(tenant, acme, &given.facts) {
            // The next order is for all domains.
            Some(_) if acme => Choice {
                pair: kept,
                trouble: None,
            },
            Some(misfit) => instead(misfit),
            None if given.facts.expired && kept.is_some_and(|kept| !kept.facts.expired) => {
                instead(format!("it has expired, on {}", given.facts.not_after))
            }
            None => Choice {
                pair: Some(given),
                trouble: None,
            },
        },
    }
}

/// Why a pair cannot be used for a tenant's domains. One that was issued may be
/// for a part of them: the others are served over HTTP until the next is there.
fn misfit(tenant: &Tenant, acme: bool, facts: &Facts) -> Option<String> {
    let domains = &tenant.spec.domains;
    let missing = facts.missing(domains);
    let usable = missing.is_empty() || (acme && missing.len() < domains.len());
    (!usable).then(|| {
        let names = facts.names.join(", ");
        format!("it is not for {}, but for {names}", listed(missing))
    })
}

fn listed<'a>(domains: impl IntoIterator<Item = &'a DomainName>) -> String {
    let domains: Vec<&str> = domains.into_iter().map(DomainName::as_str).collect();
    domains.join(", ")
}

/// What is known of the orders of a tenant's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Issuing {
    /// None was tried, or the last one succeeded.
    #[default]
    Quiet,
    /// The last one failed, for this reason.
    Failed(String),
}

/// What the condition [`CONDITION`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all is well.
    pub status: ConditionStatus,
    /// Why, a CamelCase word.
    pub reason: &'static str,
    /// Why, in words.
    pub message: String,
}

/// What has to be said of a tenant's certificate. `warn` is how long before its
/// end a person is told, but not before three quarters of its time are over.
#[must_use]
pub fn judge(
    tenant: &Tenant,
    (served, trouble): (Option<&Facts>, Option<&str>),
    issuing: &Issuing,
    warn: SignedDuration,
    now: Timestamp,
) -> Verdict {
    let acme = tenant.spec.tls.as_ref().is_some_and(|tls| tls.acme);
    let no = |reason, message: String| Verdict {
        status: ConditionStatus::False,
        reason,
        message,
    };
    let failed = match issuing {
        Issuing::Quiet => None,
        Issuing::Failed(why) => Some(format!("the last order failed: {why}")),
    };
    let Some(facts) = served else {
        let trouble = trouble.unwrap_or("none was issued yet");
        return match failed {
            _ if !acme => no(INVALID, format!("no certificate can be served: {trouble}")),
            Some(failed) => no(
                NOT_ISSUED,
                format!("{failed}; the site is served over HTTP until there is a certificate"),
            ),
            None => no(
                PENDING,
                "the site is served over HTTP until there is a certificate".into(),
            ),
        };
    };
    let until = facts.not_after;
    if until <= now {
        let more = trouble.map(String::from).or(failed);
        let more = more.map_or_else(String::new, |more| format!("; {more}"));
        return no(EXPIRED, format!("it expired on {until}{more}"));
    }
    if let Some(trouble) = trouble {
        return no(
            INVALID,
            format!("{trouble}; the certificate before is served, which is valid until {until}"),
        );
    }
    let missing = facts.missing(&tenant.spec.domains);
    if !missing.is_empty() {
        let missing = listed(missing);
        let served = format!("{missing}: served over HTTP until there is a certificate");
        return match failed {
            Some(failed) => no(NOT_ISSUED, format!("{served}; {failed}")),
            None => no(PENDING, served),
        };
    }
    // One of a few days is renewed a few days before.
    let whole = until.duration_since(facts.not_before);
    if until.duration_since(now) <= warn.min(whole / 4) {
        let more = failed.map_or_else(String::new, |more| format!("; {more}"));
        return no(EXPIRING, format!("it expires on {until}{more}"));
    }
    match failed {
        Some(failed) => no(
            NOT_ISSUED,
            format!("it is valid until {until}, but {failed}"),
        ),
        None => Verdict {
            status: ConditionStatus::True,
            reason: VALID,
            message: format!("it is valid until {until}"),
        },
    }
}

/// When an issued certificate is to be replaced: after two thirds of its time,
/// up to a tenth of it earlier, so that certificates that were issued together
/// are not renewed together. The same at each look.
#[must_use]
pub fn renewal(tenant: &str, facts: &Facts) -> Timestamp {
    let whole = facts.not_after.duration_since(facts.not_before).as_secs();
    let seed = digest::of_content(format!("{tenant} {}", facts.not_before).as_bytes());
    let seed = i64::from_str_radix(&seed[..4], 16).unwrap_or(0);
    let earlier = whole / 10 * seed / 0xffff;
    let after = SignedDuration::from_secs((whole / 3 * 2 - earlier).max(0));
    facts
        .not_before
        .checked_add(after)
        .unwrap_or(facts.not_after)
}

/// The times and names, for the log.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "for {}, valid until {}",
            self.names.join(", "),
            self.not_after
        )
    }
}

#[cfg(test)]
mod tests;
