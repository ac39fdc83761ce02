//! Objects against each other: what tenants claim and what they refer to.
//!
//! [`check()`] looks at a set of files and nothing else; what takes effect on a
//! host, with what was accepted before, is [`crate::admission`]'s to say. Both
//! use the same [`Claim`]s.

use std::collections::BTreeMap;
use std::fmt;

use super::check::{self, unknown};
use super::{AnyObject, Diagnostic, Document, File, Finding, Severity};
use crate::api::{Application, Host, Kind, Placement, Tenant};
use crate::layout::unit_name;
use crate::yaml::Path;

/// Something that only one tenant can have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A domain.
    Domain(String),
    /// A fixed port.
    Port(u16),
    /// The name of a systemd unit: tenant `a-b` with service `c` and tenant
    /// `a` with service `b-c` have the same.
    Unit(String),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Domain(domain) => write!(f, "domain `{domain}`"),
            Claim::Port(port) => write!(f, "port {port}"),
            Claim::Unit(unit) => write!(f, "unit `{unit}`"),
        }
    }
}

/// What a tenant claims, each with the field that says so.
#[must_use]
pub fn claims(tenant: &Tenant, application: Option<&Application>) -> Vec<(Claim, Path)> {
    let spec = Path::from(["spec"]);
    let mut out = Vec::new();
    for (n, domain) in tenant.spec.domains.iter().enumerate() {
        out.push((
            Claim::Domain(domain.to_string()),
            spec.key("domains").index(n),
        ));
    }
    for (service, port) in &tenant.spec.ports {
        out.push((Claim::Port(port.0), spec.key("ports").key(service.as_str())));
    }
    for service in application
        .into_iter()
        .flat_map(|application| &application.spec.services)
    {
        let unit = unit_name(&tenant.metadata.name, service.name.as_str());
        out.push((Claim::Unit(unit), Path::from(["metadata", "name"])));
    }
    out
}

/// Says that someone else claims the same; `other` says who and where.
#[must_use]
pub fn claimed(claim: &Claim, path: Path, other: &str) -> Finding {
    let hint = match claim {
        Claim::Domain(_) => "a domain belongs to one tenant; remove it from one of the two",
        Claim::Port(_) => "choose another port for one of the two",
        Claim::Unit(_) => "rename one of the two",
    };
    Finding::new(path, format!("{claim} is also that of {other}")).hint(hint)
}

/// Says that the name is taken twice.
#[must_use]
pub fn named_twice(kind: Kind, name: &str, other: &str) -> Finding {
    let message = format!("{} `{name}` is also in {other}", kind.singular());
    Finding::new(Path::from(["metadata", "name"]), message).hint("remove or rename one of the two")
}

/// A document with the file it is in.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    document: &'a Document,
}

impl At<'_> {
    fn place(self, path: &Path) -> String {
        let at = self.document.place(path);
        format!("{}:{}:{}", self.file, at.line, at.column)
    }

    fn error(self, finding: Finding) -> Diagnostic {
        self.document
            .diagnostic(self.file, finding, Severity::Error)
    }
}

/// Checks a set of files against each other. What each file is refused for by
/// itself is in its own `errors`.
///
/// References to Applications are checked only if the set has an Application:
/// one tenant's file can be checked alone.
#[must_use]
pub fn check(files: &[File]) -> Vec<Diagnostic> {
    let all: Vec<At<'_>> = files
        .iter()
        .flat_map(|file| {
            file.documents.iter().map(|document| At {
                file: &file.file,
                document,
            })
        })
        .collect();
    let mut out = names(&all);
    out.extend(references(&all));
    out.extend(conflicts(&all));
    out.extend(offsets(&all));
    out.sort_by(|a, b| (&a.file, a.position, &a.message).cmp(&(&b.file, b.position, &b.message)));
    out
}

fn names(all: &[At<'_>]) -> Vec<Diagnostic> {
    let mut by_name: BTreeMap<(Kind, &str), Vec<At<'_>>> = BTreeMap::new();
    for at in all {
        if let (Some(kind), Some(name)) = (at.document.kind, &at.document.name) {
            by_name.entry((kind, name)).or_default().push(*at);
        }
    }
    let path = Path::from(["metadata", "name"]);
    let mut out = Vec::new();
    for ((kind, name), same) in by_name {
        for (n, at) in same.iter().enumerate() {
            if let Some(other) = other(&same, n) {
                out.push(at.error(named_twice(kind, name, &other.place(&path))));
            }
        }
    }
    out
}

/// The first of the others.
fn other<T: Copy>(same: &[T], n: usize) -> Option<T> {
    same.get(usize::from(n == 0)).copied()
}

fn tenants<'a>(all: &[At<'a>]) -> Vec<(At<'a>, &'a Tenant)> {
    all.iter()
        .filter_map(|at| match &at.document.object {
            Some(AnyObject::Tenant(tenant)) => Some((*at, tenant.as_ref())),
            _ => None,
        })
        .collect()
}

fn applications<'a>(all: &[At<'a>]) -> BTreeMap<&'a str, &'a Application> {
    all.iter()
        .filter_map(|at| match &at.document.object {
            Some(AnyObject::Application(of)) => Some((of.metadata.name.as_str(), of.as_ref())),
            _ => None,
        })
        .collect()
}

fn references(all: &[At<'_>]) -> Vec<Diagnostic> {
    let known = applications(all);
    // One that is refused is there all the same.
    let named = || {
        all.iter()
            .filter(|at| at.document.kind == Some(Kind::Application))
            .filter_map(|at| at.document.name.as_deref())
    };
    if named().next().is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (at, tenant) in tenants(all) {
        let name = tenant.spec.application.as_str();
        match known.get(name) {
            Some(application) => {
                out.extend(
                    check::tenant_of(tenant, application)
                        .into_iter()
                        .map(|f| at.error(f)),
                );
            }
            None if named().any(|other| other == name) => {}
            None => {
                let path = Path::from(["spec", "application"]);
                let message = format!("there is no Application `{name}`");
                out.push(at.error(unknown(path, message, name, named())));
            }
        }
    }
    out
}

fn conflicts(all: &[At<'_>]) -> Vec<Diagnostic> {
    let known = applications(all);
    let mut by_claim: BTreeMap<Claim, Vec<(At<'_>, &Tenant, Path)>> = BTreeMap::new();
    for (at, tenant) in tenants(all) {
        let application = known.get(tenant.spec.application.as_str()).copied();
        for (claim, path) in claims(tenant, application) {
            by_claim.entry(claim).or_default().push((at, tenant, path));
        }
    }
    let mut out = Vec::new();
    for (claim, same) in by_claim {
        for (at, tenant, path) in &same {
            let other = same.iter().find(|(_, other, _)| {
                // A name in two files is reported as that.
                other.metadata.name != tenant.metadata.name
                    && (matches!(claim, Claim::Domain(_))
                        || !apart(&tenant.spec.placement, &other.spec.placement))
            });
            if let Some((other_at, other, other_path)) = other {
                let who = format!(
                    "tenant `{}` ({})",
                    other.metadata.name,
                    other_at.place(other_path)
                );
                out.push(at.error(claimed(&claim, path.clone(), &who)));
            }
        }
    }
    out
}

/// Whether no host can have both.
fn apart(a: &Placement, b: &Placement) -> bool {
    a.host_selector
        .iter()
        .any(|(key, value)| b.host_selector.get(key).is_some_and(|other| other != value))
}

fn offsets(all: &[At<'_>]) -> Vec<Diagnostic> {
    let hosts: Vec<&Host> = all
        .iter()
        .filter_map(|at| match &at.document.object {
            Some(AnyObject::Host(host)) => Some(host.as_ref()),
            _ => None,
        })
        .collect();
    let mut out = Vec::new();
    for at in all {
        let Some(AnyObject::Application(application)) = &at.document.object else {
            continue;
        };
        // The narrowest host says all that the others would.
        if let Some(host) = hosts.iter().min_by_key(|host| host.spec.ports.stride) {
            let found = check::application_on(application, &host.spec.ports);
            out.extend(found.into_iter().map(|finding| at.error(finding)));
        }
    }
    out
}
