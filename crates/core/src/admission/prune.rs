//! Tenants that are in no file (law 2: absence is not deletion).
//!
//! Only a clean, complete scan with at least one manifest says that a tenant
//! is gone. It is removed after it was gone for the Host's
//! `prune.delaySeconds`, counted over clean scans alone. If more are gone
//! together than the cap allows, nothing is removed. A scan that removes
//! nothing for any of these reasons starts the time again: files that come
//! back one by one must not leave the last ones overdue.

use std::collections::BTreeMap;
use std::fmt;

use super::{Admission, Gathered, Known, Scan};
use crate::api::Host;
use crate::types::TenantName;

/// Why tenants that are in no file are not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneBlocked {
    /// Why.
    pub reason: Blocked,
    /// The tenants.
    pub names: Vec<TenantName>,
}

/// What keeps tenants from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The folder could not be read in full.
    Incomplete,
    /// A file cannot be read or is not a good manifest.
    Errors,
    /// The folder has no manifest at all.
    Empty,
    /// Too many went together.
    TooMany {
        /// How many may go together.
        allowed: usize,
        /// How many there are.
        active: usize,
    },
}

impl fmt::Display for PruneBlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let count = self.names.len();
        let tenants = if count == 1 {
            "tenant is"
        } else {
            "tenants are"
        };
        write!(f, "{count} {tenants} in no file but not removed: ")?;
        match self.reason {
            Blocked::Incomplete => {
                f.write_str("the folder of manifests could not be read in full")?
            }
            Blocked::Errors => f.write_str("a file in the folder of manifests has errors")?,
            Blocked::Empty => f.write_str("the folder of manifests has no manifest in it")?,
            Blocked::TooMany { allowed, active } => {
                write!(
                    f,
                    "at most {allowed} of {active} may go together (the Host's prune.maxPercent)"
                )?;
            }
        }
        match self.reason {
            Blocked::Incomplete | Blocked::Errors => f.write_str("; put that right first")?,
            Blocked::Empty | Blocked::TooMany { .. } => f.write_str(
                "; put the files back, or delete each tenant by name with `cbctl delete tenant NAME`",
            )?,
        }
        let names: Vec<_> = self
            .names
            .iter()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect();
        write!(f, ": {}", names.join(", "))?;
        if count > SHOWN {
            write!(f, " and {} more", count - SHOWN)?;
        }
        Ok(())
    }
}

/// The part of the admission that is about absent tenants.
pub(super) fn absent(
    known: &Known,
    scan: &Scan,
    gathered: &Gathered<'_>,
    host: &Host,
    now: u64,
) -> Admission {
    let mut out = Admission::default();
    let active = known
        .tenants
        .values()
        .filter(|before| before.active)
        .count();
    let gone: BTreeMap<&TenantName, Option<u64>> = known
        .tenants
        .iter()
        .filter(|(name, before)| {
            // One with an error is there: its file is, and has the error.
            before.active
                && !gathered.tenants.seen.contains_key(*name)
                && !gathered.tenants.refused.contains_key(*name)
        })
        .map(|(name, before)| (name, before.missing_since))
        .collect();
    if gone.is_empty() {
        return out;
    }
    let allowed = (active * usize::from(host.spec.prune.max_percent) / 100).max(1);
    let has_manifest = scan
        .files
        .values()
        .flatten()
        .any(|file| !file.documents.is_empty());
    let reason = if !scan.complete {
        Some(Blocked::Incomplete)
    } else if !scan.is_clean() {
        Some(Blocked::Errors)
    } else if !has_manifest {
        Some(Blocked::Empty)
    } else if gone.len() > allowed {
        Some(Blocked::TooMany { allowed, active })
    } else {
        None
    };
    if let Some(reason) = reason {
        let names = gone.into_keys().cloned().collect();
        out.blocked = Some(PruneBlocked { reason, names });
        return out;
    }
    // A clock that was set back must not make a tenant wait for ever.
    let since = |since: Option<u64>| since.map_or(now, |since| since.min(now));
    out.missing = gone
        .into_iter()
        .map(|(name, at)| (name.clone(), since(at)))
        .collect();
    let delay = u64::from(host.spec.prune.delay_seconds) * 1000;
    for (name, since) in &out.missing {
        let due = since.saturating_add(delay);
        if due <= now {
            out.prune.push(name.clone());
        } else {
            out.recheck_at = Some(out.recheck_at.map_or(due, |other| other.min(due)));
        }
    }
    out
}
