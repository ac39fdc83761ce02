//! Domains, fixed ports and units that more than one tenant claims.
//!
//! A tenant that is refused goes on with its last good spec, whose claims then
//! count again; so refusing repeats until nothing more is refused. The set of
//! refused tenants only grows, which ends it, and everything is in the order
//! of names, which makes it the same every time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Gathered, Known};
use crate::api::{Application, Kind, Tenant};
use crate::manifest::cross::{Claim, claimed, claims};
use crate::manifest::{Diagnostic, Severity};
use crate::types::{ObjectName, TenantName};
use crate::yaml::Path;

type Applications = BTreeMap<ObjectName, Arc<Application>>;

/// One tenant's claim.
struct Claimant<'a> {
    name: &'a TenantName,
    /// Where its manifest says so; `None` for a last good spec.
    path: Option<Path>,
    /// Whether its accepted spec had the claim before.
    had: bool,
    /// Who and where, for the other's message.
    who: String,
}

/// Refuses candidates until no claim is disputed that anything can be done
/// about.
pub(super) fn settle(
    known: &Known,
    gathered: &mut Gathered<'_>,
    applications: &Applications,
    not_placed: &BTreeMap<TenantName, (Arc<Tenant>, String)>,
) {
    let held: BTreeMap<&TenantName, Vec<Claim>> = known
        .tenants
        .iter()
        .filter(|(_, before)| before.active)
        .map(|(name, before)| (name, claims_of(&before.tenant, applications)))
        .map(|(name, claims)| (name, claims.into_iter().map(|(claim, _)| claim).collect()))
        .collect();
    loop {
        let (refused, warned) = disputes(known, gathered, applications, not_placed, &held);
        let done = refused.is_empty();
        for (name, errors) in refused {
            gathered.tenants.refuse(&name, errors);
        }
        for (name, warning) in warned {
            let warnings = gathered.tenants.warnings.entry(name).or_default();
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        if done {
            return;
        }
    }
}

fn claims_of(tenant: &Tenant, applications: &Applications) -> Vec<(Claim, Path)> {
    claims(
        tenant,
        applications.get(&tenant.spec.application).map(Arc::as_ref),
    )
}

type Refused = BTreeMap<TenantName, Vec<Diagnostic>>;

fn disputes(
    known: &Known,
    gathered: &Gathered<'_>,
    applications: &Applications,
    not_placed: &BTreeMap<TenantName, (Arc<Tenant>, String)>,
    held: &BTreeMap<&TenantName, Vec<Claim>>,
) -> (Refused, Vec<(TenantName, Diagnostic)>) {
    let mut by_claim: BTreeMap<Claim, Vec<Claimant<'_>>> = BTreeMap::new();
    let tenants = &gathered.tenants;
    let standing = tenants
        .candidates
        .iter()
        .filter(|(name, _)| !tenants.refused.contains_key(*name));
    let mut names = BTreeSet::new();
    for (name, candidate) in standing {
        names.insert(name);
        for (claim, path) in claims_of(&candidate.object, applications) {
            let had = held.get(name).is_some_and(|held| held.contains(&claim));
            let who = format!("tenant `{name}` ({})", candidate.place(&path));
            by_claim.entry(claim).or_default().push(Claimant {
                name,
                path: Some(path),
                had,
                who,
            });
        }
    }
    for (name, claims) in held {
        if names.contains(name) || not_placed.contains_key(*name) {
            continue;
        }
        let who = format!(
            "tenant `{name}`, as last accepted from {}",
            known.tenants[*name].file
        );
        for claim in claims {
            let claimant = Claimant {
                name,
                path: None,
                had: true,
                who: who.clone(),
            };
            by_claim.entry(claim.clone()).or_default().push(claimant);
        }
    }
    let mut refused = Refused::new();
    let mut warned = Vec::new();
    for (claim, claimants) in &by_claim {
        for one in claimants {
            // The one to name: who has it, else the first of the others.
            let mut others = claimants.iter().filter(|other| other.name != one.name);
            let first = others.clone().next();
            let Some(other) = others.find(|other| other.had).or(first) else {
                continue;
            };
            let finding = claimed(claim, one.path.clone().unwrap_or_default(), &other.who);
            let candidate = one
                .path
                .as_ref()
                .and_then(|_| tenants.candidates.get(one.name));
            match candidate {
                Some(c) if !one.had => {
                    let error = c.document.diagnostic(c.file, finding, Severity::Error);
                    refused.entry(one.name.clone()).or_default().push(error);
                }
                Some(c) => {
                    let warning = c.document.diagnostic(c.file, finding, Severity::Warning);
                    warned.push((one.name.clone(), warning));
                }
                None => {
                    let file = &known.tenants[one.name].file;
                    let warning = Diagnostic {
                        hint: finding.hint,
                        kind: Some(Kind::Tenant),
                        name: Some(one.name.to_string()),
                        ..Diagnostic::of_file(file, Severity::Warning, finding.message)
                    };
                    warned.push((one.name.clone(), warning));
                }
            }
        }
    }
    (refused, warned)
}
