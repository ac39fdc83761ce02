//! The objects of a scan by name, and every error by the object it is about.
//!
//! An error is given to the object that it names; if it names none, to the
//! objects that were accepted from that file before and are nowhere else now;
//! if there are none, to the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Known, Scan};
use crate::api::{Application, Kind, Tenant};
use crate::manifest::{AnyObject, Diagnostic, Document, Finding, Severity, cross};
use crate::types::{ObjectName, TenantName, shown};
use crate::yaml::Path;

/// An object that may take effect.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'s, T> {
    pub(super) object: Arc<T>,
    pub(super) file: &'s str,
    pub(super) document: &'s Document,
}

impl<T> Candidate<'_, T> {
    pub(super) fn errors(&self, findings: Vec<Finding>) -> Vec<Diagnostic> {
        let error = |finding| {
            self.document
                .diagnostic(self.file, finding, Severity::Error)
        };
        findings.into_iter().map(error).collect()
    }

    pub(super) fn place(&self, path: &Path) -> String {
        place(self.file, self.document, path)
    }
}

fn place(file: &str, document: &Document, path: &Path) -> String {
    let at = document.place(path);
    format!("{file}:{}:{}", at.line, at.column)
}

/// What a scan has of one kind.
#[derive(Debug)]
pub(super) struct Of<'s, N, T> {
    /// Every document of this name, good or not.
    pub(super) seen: BTreeMap<N, Vec<(&'s str, &'s Document)>>,
    /// The good ones that are alone of their name.
    pub(super) candidates: BTreeMap<N, Candidate<'s, T>>,
    /// Why it does not take effect.
    pub(super) refused: BTreeMap<N, Vec<Diagnostic>>,
    /// What a person should look at.
    pub(super) warnings: BTreeMap<N, Vec<Diagnostic>>,
}

impl<N, T> Default for Of<'_, N, T> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
            candidates: BTreeMap::new(),
            refused: BTreeMap::new(),
            warnings: BTreeMap::new(),
        }
    }
}

impl<N: Ord + Clone, T> Of<'_, N, T> {
    pub(super) fn refuse(&mut self, name: &N, errors: Vec<Diagnostic>) {
        if !errors.is_empty() {
            self.refused.entry(name.clone()).or_default().extend(errors);
        }
    }

    pub(super) fn warn(&mut self, name: &N, finding: Finding) {
        if let Some(c) = self.candidates.get(name) {
            let warning = c.document.diagnostic(c.file, finding, Severity::Warning);
            self.warnings.entry(name.clone()).or_default().push(warning);
        }
    }
}

/// A scan by name.
#[derive(Debug, Default)]
pub(super) struct Gathered<'s> {
    pub(super) tenants: Of<'s, TenantName, Tenant>,
    pub(super) applications: Of<'s, ObjectName, Application>,
    pub(super) files: BTreeMap<String, Vec<Diagnostic>>,
}

pub(super) fn gather<'s>(known: &Known, scan: &'s Scan) -> Gathered<'s> {
    let mut out = Gathered::default();
    for (path, file) in &scan.files {
        let Ok(file) = file else { continue };
        for document in &file.documents {
            out.see(known, path, document);
        }
    }
    for (path, file) in &scan.files {
        match file {
            Ok(file) => {
                for error in &file.errors {
                    out.attribute(known, path, error.clone());
                }
            }
            Err(reason) => {
                let message = format!("the file cannot be read: {}", shown(reason));
                let error = Diagnostic::of_file(path, Severity::Error, message);
                out.attribute(known, path, error);
            }
        }
    }
    // A document of a file that is not valid YAML has no error of its own.
    unexplained(scan, &out.tenants.seen, &mut out.tenants.refused);
    unexplained(scan, &out.applications.seen, &mut out.applications.refused);
    out.tenants.alone(Kind::Tenant, |object| match object {
        AnyObject::Tenant(tenant) => Some(tenant.clone()),
        _ => None,
    });
    out.applications
        .alone(Kind::Application, |object| match object {
            AnyObject::Application(application) => Some(application.clone()),
            _ => None,
        });
    out
}

impl<'s> Gathered<'s> {
    fn see(&mut self, known: &Known, file: &'s str, document: &'s Document) {
        if document.kind == Some(Kind::Host) {
            let message = "a Host in the folder of manifests is not read: the operator reads one file when it starts";
            let finding = Finding::new(Path::from(["kind"]), message);
            let warning = document.diagnostic(file, finding, Severity::Warning);
            self.files.entry(file.to_owned()).or_default().push(warning);
        }
        let Some(name) = &document.name else { return };
        if let Some(name) = tenant_named(known, file, document.kind, name) {
            self.tenants
                .seen
                .entry(name)
                .or_default()
                .push((file, document));
        } else if document.kind == Some(Kind::Application)
            && let Ok(name) = name.parse()
        {
            self.applications
                .seen
                .entry(name)
                .or_default()
                .push((file, document));
        }
    }

    fn attribute(&mut self, known: &Known, file: &str, error: Diagnostic) {
        if let Some(name) = &error.name {
            if let Some(name) = tenant_named(known, file, error.kind, name) {
                return self.tenants.refuse(&name, vec![error]);
            }
            if error.kind == Some(Kind::Application)
                && let Ok(name) = name.parse()
            {
                return self.applications.refuse(&name, vec![error]);
            }
        }
        let tenants: Vec<_> = known
            .tenants
            .iter()
            .filter(|(name, k)| {
                k.active && k.file == file && !self.tenants.seen.contains_key(*name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        let applications: Vec<_> = known
            .applications
            .iter()
            .filter(|(name, k)| k.file == file && !self.applications.seen.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        if tenants.is_empty() && applications.is_empty() {
            self.files.entry(file.to_owned()).or_default().push(error);
            return;
        }
        for name in tenants {
            self.tenants.refuse(&name, vec![error.clone()]);
        }
        for name in applications {
            self.applications.refuse(&name, vec![error.clone()]);
        }
    }
}

/// The tenant that a document is about: it says so, or its kind cannot be
/// read and a tenant of its name came from this file before.
fn tenant_named(known: &Known, file: &str, kind: Option<Kind>, name: &str) -> Option<TenantName> {
    let name: TenantName = name.parse().ok()?;
    match kind {
        Some(Kind::Tenant) => Some(name),
        None if known.tenants.get(&name).is_some_and(|k| k.file == file) => Some(name),
        _ => None,
    }
}

fn unexplained<N: Ord + Clone>(
    scan: &Scan,
    seen: &BTreeMap<N, Vec<(&str, &Document)>>,
    refused: &mut BTreeMap<N, Vec<Diagnostic>>,
) {
    for (name, documents) in seen {
        for (file, document) in documents {
            if document.object.is_some() || refused.contains_key(name) {
                continue;
            }
            if let Some(Ok(file)) = scan.files.get(*file) {
                refused
                    .entry(name.clone())
                    .or_default()
                    .extend(file.errors.iter().cloned());
            }
        }
    }
}

impl<N: Ord + Clone + AsRef<str>, T> Of<'_, N, T> {
    /// Makes candidates of what is good and alone of its name.
    fn alone(&mut self, kind: Kind, of: impl Fn(&AnyObject) -> Option<Arc<T>>) {
        let path = Path::from(["metadata", "name"]);
        for (name, documents) in &self.seen {
            if let [(file, document)] = documents.as_slice() {
                if let Some(object) = document.object.as_ref().and_then(&of) {
                    self.candidates.insert(
                        name.clone(),
                        Candidate {
                            object,
                            file,
                            document,
                        },
                    );
                }
                continue;
            }
            let errors = self.refused.entry(name.clone()).or_default();
            for (n, (file, document)) in documents.iter().enumerate() {
                let (other_file, other) = documents[usize::from(n == 0)];
                let finding =
                    cross::named_twice(kind, name.as_ref(), &place(other_file, other, &path));
                errors.push(document.diagnostic(file, finding, Severity::Error));
            }
        }
    }
}
