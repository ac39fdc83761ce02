//! Admission: which manifests take effect on this host.
//!
//! [`admit`] is a pure function of what was accepted before ([`Known`]), one
//! read of the folder ([`Scan`]), the Host and the time. It is level-based: a
//! scan is judged whole and from scratch every time, so a lost event or a
//! second call changes nothing.
//!
//! - An object that cannot be used keeps its last good version; the fault
//!   stays with it and the others are admitted (law 4, law 12).
//! - A name in two places takes effect in neither. A domain, fixed port or
//!   unit that two tenants claim stays with the one whose accepted spec had
//!   it; if none had it, no new one gets it (`conflict`).
//! - Files that were read well take effect even if the scan is incomplete or
//!   another file is broken: a checkout that is half-way through gives what it
//!   has. But only a clean, complete scan says that anything is gone, and only
//!   below a cap (`prune`, law 2).
//! - A tenant that is placed elsewhere is stopped here and keeps its data.
//!
//! A claim of a tenant that is gone or moved is free for others once it is
//! removed from [`Known`]: a renamed tenant is admitted at the scan after the
//! old one was pruned.

mod conflict;
mod gather;
mod prune;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use prune::{Blocked, PruneBlocked};

use crate::api::{Application, Host, Kind, Tenant};
use crate::manifest::{Diagnostic, File, Finding, Severity, check};
use crate::releases::ReleaseId;
use crate::types::{ObjectName, TenantName};
use crate::yaml::Path;
use gather::{Candidate, Gathered};

/// What was accepted before, by the records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// The tenants.
    pub tenants: BTreeMap<TenantName, KnownTenant>,
    /// The Applications.
    pub applications: BTreeMap<ObjectName, KnownApplication>,
}

/// A tenant that was accepted before.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownTenant {
    /// The last good manifest.
    pub tenant: Arc<Tenant>,
    /// The file it was in.
    pub file: String,
    /// Whether it is kept running here; not if it was removed or is placed
    /// elsewhere.
    pub active: bool,
    /// What it runs or may go back to, besides what its manifest asks for.
    pub runs: BTreeSet<ReleaseId>,
    /// What [`Admission::missing`] last said, in milliseconds.
    pub missing_since: Option<u64>,
}

/// An Application that was accepted before.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownApplication {
    /// The last good manifest.
    pub application: Arc<Application>,
    /// The file it was in.
    pub file: String,
}

/// One read of the folder of manifests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// Whether the whole folder was read: no folder was missing, unreadable or
    /// changed while it was listed.
    pub complete: bool,
    /// The manifests by shown path, or why a file could not be read.
    pub files: BTreeMap<String, Result<File, String>>,
}

impl Scan {
    /// Whether absence from this scan means anything: it is complete and
    /// nothing in it is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let good = |file: &Result<File, String>| matches!(file, Ok(file) if file.errors.is_empty());
        self.complete && self.files.values().all(good)
    }
}

/// What a scan means for this host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admission {
    /// The tenants that the scan says something about. One that is known and
    /// not here stays as it is.
    pub tenants: BTreeMap<TenantName, Verdict<Tenant>>,
    /// The Applications that the scan says something about.
    pub applications: BTreeMap<ObjectName, Verdict<Application>>,
    /// Applications that are gone and that no tenant uses.
    pub forget: Vec<ObjectName>,
    /// What is wrong with files that no object is known from.
    pub files: BTreeMap<String, Vec<Diagnostic>>,
    /// Active tenants that are in no file and that nothing keeps from being
    /// removed, with the time since when, for the records. Replaces what was
    /// recorded: the time of a tenant that is not here starts again.
    pub missing: BTreeMap<TenantName, u64>,
    /// Tenants to remove now, by their deletion policy.
    pub prune: Vec<TenantName>,
    /// Why tenants that are in no file are not removed.
    pub blocked: Option<PruneBlocked>,
    /// When to admit again even if nothing changes, in milliseconds.
    pub recheck_at: Option<u64>,
}

/// What a scan says about one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict<T> {
    /// What takes effect.
    pub decision: Decision<T>,
    /// Why the manifest as it is now does not take effect.
    pub refused: Vec<Diagnostic>,
    /// What a person should look at.
    pub warnings: Vec<Diagnostic>,
}

/// What takes effect of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<T> {
    /// The manifest.
    Accept {
        /// The object.
        object: Arc<T>,
        /// Its file.
        file: String,
        /// How it differs from what was accepted before.
        change: Change,
    },
    /// What was accepted before, if anything was.
    Keep,
    /// The tenant is placed on other hosts: it is stopped here and its data
    /// stays, whatever its deletion policy.
    NotPlaced {
        /// The object.
        object: Arc<T>,
        /// Its file.
        file: String,
    },
}

/// How a manifest differs from what was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing was, or the tenant was not active.
    New,
    /// The object or its file differs.
    Changed,
    /// Not at all.
    Same,
}

impl<T> Verdict<T> {
    fn keep() -> Self {
        Self {
            decision: Decision::Keep,
            refused: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The object that was accepted and its file.
    #[must_use]
    pub fn accepted(&self) -> Option<(&Arc<T>, &str)> {
        match &self.decision {
            Decision::Accept { object, file, .. } => Some((object, file)),
            Decision::Keep | Decision::NotPlaced { .. } => None,
        }
    }
}

/// What every tenant that is kept here is to be from now on.
type Running = BTreeMap<TenantName, Arc<Tenant>>;

/// Decides what takes effect. `now` is in milliseconds since any fixed time,
/// the same for all calls that share records.
#[must_use]
pub fn admit(known: &Known, scan: &Scan, host: &Host, now: u64) -> Admission {
    let mut gathered = gather::gather(known, scan);
    let applications = applications(known, &mut gathered, host);
    let not_placed = not_placed(&mut gathered, host);
    references(known, &mut gathered, &applications);
    conflict::settle(known, &mut gathered, &applications, &not_placed);

    let mut out = prune::absent(known, scan, &gathered, host, now);
    let mut running = Running::new();
    for (name, before) in &known.tenants {
        if before.active && !not_placed.contains_key(name) {
            running.insert(name.clone(), before.tenant.clone());
        }
    }
    for (name, candidate) in &gathered.tenants.candidates {
        if !gathered.tenants.refused.contains_key(name) {
            running.insert(name.clone(), candidate.object.clone());
        }
    }
    let applications = keep_versions(known, &mut gathered, &applications, &running);
    finish_applications(known, scan, &mut gathered, applications, &running, &mut out);
    finish_tenants(known, gathered, not_placed, &mut out);
    out
}

/// The Applications that tenants are checked against: the new ones, else the
/// last good ones.
fn applications(
    known: &Known,
    gathered: &mut Gathered<'_>,
    host: &Host,
) -> BTreeMap<ObjectName, Arc<Application>> {
    let found: Vec<_> = gathered
        .applications
        .candidates
        .iter()
        .map(|(name, c)| {
            (
                name.clone(),
                c.errors(check::application_on(&c.object, &host.spec.ports)),
            )
        })
        .collect();
    for (name, errors) in found {
        gathered.applications.refuse(&name, errors);
    }
    let mut out: BTreeMap<_, _> = known
        .applications
        .iter()
        .map(|(name, k)| (name.clone(), k.application.clone()))
        .collect();
    for (name, candidate) in &gathered.applications.candidates {
        if !gathered.applications.refused.contains_key(name) {
            out.insert(name.clone(), candidate.object.clone());
        }
    }
    out
}

/// Takes the tenants that are placed elsewhere out of the candidates.
fn not_placed(
    gathered: &mut Gathered<'_>,
    host: &Host,
) -> BTreeMap<TenantName, (Arc<Tenant>, String)> {
    let labels = &host.metadata.labels;
    let here = |tenant: &Tenant| {
        let selector = &tenant.spec.placement.host_selector;
        selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    };
    let mut out = BTreeMap::new();
    gathered.tenants.candidates.retain(|name, candidate| {
        let here = here(&candidate.object);
        if !here {
            out.insert(
                name.clone(),
                (candidate.object.clone(), candidate.file.to_owned()),
            );
        }
        here
    });
    out
}

/// Refuses tenants whose Application, version or service is not there.
fn references(
    known: &Known,
    gathered: &mut Gathered<'_>,
    applications: &BTreeMap<ObjectName, Arc<Application>>,
) {
    let mut found = Vec::new();
    for (name, candidate) in &gathered.tenants.candidates {
        let tenant = &candidate.object;
        let findings = match applications.get(&tenant.spec.application) {
            Some(application) => {
                let mut findings = check::tenant_of(tenant, application);
                // It runs the version that its Application dropped.
                if kept_source(known, name, &ReleaseId::of(&tenant.spec)).is_some() {
                    findings.retain(|finding| finding.path != Path::from(["spec", "version"]));
                }
                findings
            }
            None => {
                let wanted = tenant.spec.application.as_str();
                let message = format!("there is no Application `{wanted}`");
                let names = applications.keys().map(ObjectName::as_str);
                vec![check::unknown(
                    Path::from(["spec", "application"]),
                    message,
                    wanted,
                    names,
                )]
            }
        };
        found.push((name.clone(), candidate.errors(findings)));
    }
    for (name, errors) in found {
        gathered.tenants.refuse(&name, errors);
    }
}

/// The source of a release in the last good Application, if the tenant already
/// runs it, is on its way to it, or may go back to it.
fn kept_source<'k>(
    known: &'k Known,
    name: &TenantName,
    release: &ReleaseId,
) -> Option<&'k crate::api::VersionSource> {
    let before = known.tenants.get(name).filter(|before| before.active)?;
    let runs = before.runs.contains(release) || ReleaseId::of(&before.tenant.spec) == *release;
    let application = known
        .applications
        .get(&release.application)
        .filter(|_| runs)?;
    application.application.spec.source(&release.version)
}

/// What a tenant that is kept here runs, may go back to, and is to run.
fn releases_of(known: &Known, name: &TenantName, tenant: &Tenant) -> BTreeSet<ReleaseId> {
    let before = known.tenants.get(name).filter(|before| before.active);
    let mut out = before.map_or_else(BTreeSet::new, |before| before.runs.clone());
    out.insert(ReleaseId::of(&tenant.spec));
    out
}

/// A version that an Application no longer lists stays as long as a tenant
/// runs it.
fn keep_versions(
    known: &Known,
    gathered: &mut Gathered<'_>,
    applications: &BTreeMap<ObjectName, Arc<Application>>,
    running: &Running,
) -> BTreeMap<ObjectName, Arc<Application>> {
    let mut out = applications.clone();
    for (name, tenant) in running {
        for release in releases_of(known, name, tenant) {
            let Some(application) = out.get_mut(&release.application) else {
                continue;
            };
            let version = &release.version;
            if application.spec.source(version).is_none()
                && let Some(source) = kept_source(known, name, &release)
            {
                Arc::make_mut(application)
                    .spec
                    .versions
                    .push(source.clone());
                let message = format!(
                    "version `{version}` is not listed any more, but tenant `{name}` runs it; it is kept until no tenant does"
                );
                let finding = Finding::new(Path::from(["spec", "versions"]), message);
                gathered.applications.warn(&release.application, finding);
            }
        }
    }
    out
}

fn finish_applications(
    known: &Known,
    scan: &Scan,
    gathered: &mut Gathered<'_>,
    mut effective: BTreeMap<ObjectName, Arc<Application>>,
    running: &Running,
    out: &mut Admission,
) {
    for (name, before) in &known.applications {
        if gathered.applications.seen.contains_key(name)
            || gathered.applications.refused.contains_key(name)
        {
            continue;
        }
        match running.iter().find(|(user, tenant)| {
            let mut releases = releases_of(known, user, tenant).into_iter();
            releases.any(|release| release.application == *name)
        }) {
            Some((user, _)) => {
                let message = format!(
                    "Application `{name}` is in no file, but tenant `{user}` runs it; its last manifest is kept"
                );
                let mut warning = Diagnostic::of_file(&before.file, Severity::Warning, message);
                warning.kind = Some(Kind::Application);
                warning.name = Some(name.to_string());
                gathered
                    .applications
                    .warnings
                    .entry(name.clone())
                    .or_default()
                    .push(warning);
            }
            None if scan.is_clean() && !scan.files.is_empty() => out.forget.push(name.clone()),
            None => {}
        }
    }
    let all = std::mem::take(&mut gathered.applications);
    let candidates = all.candidates;
    out.applications = verdicts(all.refused, all.warnings);
    for (name, candidate) in candidates {
        let verdict = out
            .applications
            .entry(name.clone())
            .or_insert_with(Verdict::keep);
        if !verdict.refused.is_empty() {
            continue;
        }
        let object = effective.remove(&name).unwrap_or(candidate.object);
        let change = match known.applications.get(&name) {
            None => Change::New,
            Some(k) if *k.application == *object && k.file == candidate.file => Change::Same,
            Some(_) => Change::Changed,
        };
        verdict.decision = Decision::Accept {
            object,
            file: candidate.file.to_owned(),
            change,
        };
    }
}

fn finish_tenants(
    known: &Known,
    gathered: Gathered<'_>,
    not_placed: BTreeMap<TenantName, (Arc<Tenant>, String)>,
    out: &mut Admission,
) {
    let all = gathered.tenants;
    out.tenants = verdicts(all.refused, all.warnings);
    out.files = gathered.files;
    for (name, candidate) in all.candidates {
        let verdict = out
            .tenants
            .entry(name.clone())
            .or_insert_with(Verdict::keep);
        if !verdict.refused.is_empty() {
            continue;
        }
        let change = match known.tenants.get(&name).filter(|before| before.active) {
            None => Change::New,
            Some(k) if *k.tenant == *candidate.object && k.file == candidate.file => Change::Same,
            Some(_) => Change::Changed,
        };
        let Candidate { object, file, .. } = candidate;
        verdict.decision = Decision::Accept {
            object,
            file: file.to_owned(),
            change,
        };
    }
    for (name, (object, file)) in not_placed {
        // One that never was here is none of this host's business.
        if known.tenants.contains_key(&name) {
            let verdict = out.tenants.entry(name).or_insert_with(Verdict::keep);
            verdict.decision = Decision::NotPlaced { object, file };
        }
    }
}

fn verdicts<N: Ord, T>(
    refused: BTreeMap<N, Vec<Diagnostic>>,
    warnings: BTreeMap<N, Vec<Diagnostic>>,
) -> BTreeMap<N, Verdict<T>> {
    let mut out: BTreeMap<N, Verdict<T>> = BTreeMap::new();
    for (name, refused) in refused {
        out.entry(name).or_insert_with(Verdict::keep).refused = refused;
    }
    for (name, warnings) in warnings {
        out.entry(name).or_insert_with(Verdict::keep).warnings = warnings;
    }
    out
}

#[cfg(test)]
mod tests;
