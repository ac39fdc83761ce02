//! A folder, what an operator remembers of it, and what one look comes to.

mod applications;
mod claims;
mod history;
mod prune;

use super::*;
use crate::manifest;

const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions:
    - {name: v1, folder: {path: /srv/v1}}
    - {name: v2, folder: {path: /srv/v2}}
  services:
    - {name: frontend, command: bin/frontend, portOffset: 0}
    - {name: api, command: bin/api, portOffset: 1}
";

/// A tenant with more fields of its spec.
fn tenant(name: &str, more: &str) -> String {
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  application: cbapp\n  version: v1\n{more}"
    )
}

fn domain(name: &str, domain: &str) -> String {
    tenant(name, &format!("  domains: [{domain}]\n"))
}

fn host() -> Host {
    let text = "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: h, labels: {site: a}}\nspec: {prune: {delaySeconds: 10, maxPercent: 20}}\n";
    match manifest::parse("host.yaml", text.as_bytes())
        .documents
        .remove(0)
        .object
    {
        Some(manifest::AnyObject::Host(host)) => Host::clone(&host),
        other => panic!("{other:?}"),
    }
}

/// A folder and what an operator remembers of it.
struct World {
    host: Host,
    known: Known,
    scan: Scan,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            host: host(),
            known: Known::default(),
            scan: Scan {
                complete: true,
                ..Scan::default()
            },
            now: 0,
        };
        world.put("app.yaml", APPLICATION);
        world
    }

    fn put(&mut self, file: &str, text: &str) {
        self.scan
            .files
            .insert(file.into(), Ok(manifest::parse(file, text.as_bytes())));
    }

    fn remove(&mut self, file: &str) {
        assert!(self.scan.files.remove(file).is_some());
    }

    /// Admits, and remembers what an operator would.
    fn step(&mut self) -> Admission {
        let out = admit(&self.known, &self.scan, &self.host, self.now);
        assert_eq!(
            out,
            admit(&self.known, &self.scan, &self.host, self.now),
            "it is a function"
        );
        for (name, verdict) in &out.applications {
            if let Decision::Accept { object, file, .. } = &verdict.decision {
                let known = KnownApplication {
                    application: object.clone(),
                    file: file.clone(),
                };
                self.known.applications.insert(name.clone(), known);
            }
        }
        for name in &out.forget {
            self.known.applications.remove(name);
        }
        for (name, verdict) in &out.tenants {
            let (object, file, active) = match &verdict.decision {
                Decision::Accept { object, file, .. } => (object, file, true),
                Decision::NotPlaced { object, file } => (object, file, false),
                Decision::Keep => continue,
            };
            let known = KnownTenant {
                tenant: object.clone(),
                file: file.clone(),
                active,
                runs: BTreeSet::new(),
                missing_since: None,
            };
            self.known.tenants.insert(name.clone(), known);
        }
        for (name, known) in &mut self.known.tenants {
            known.missing_since = out.missing.get(name).copied();
        }
        for name in &out.prune {
            self.known.tenants.remove(name);
        }
        out
    }

    fn domains(&self, name: &str) -> Vec<String> {
        let tenant = &self.known.tenants[name].tenant;
        tenant
            .spec
            .domains
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

fn change<T>(verdict: &Verdict<T>) -> Option<Change> {
    match verdict.decision {
        Decision::Accept { change, .. } => Some(change),
        _ => None,
    }
}

fn refused(out: &Admission, name: &str) -> Vec<String> {
    out.tenants[name]
        .refused
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn names(names: &[TenantName]) -> Vec<&str> {
    names.iter().map(TenantName::as_str).collect()
}

/// Law 1.
#[test]
fn what_was_accepted_is_the_same_the_second_time() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::New));
    assert_eq!(change(&out.applications["cbapp"]), Some(Change::New));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::Same));
    assert_eq!(change(&out.applications["cbapp"]), Some(Change::Same));
    world.put("a.yaml", &domain("a", "b.example.org"));
    assert_eq!(change(&world.step().tenants["a"]), Some(Change::Changed));
}

/// Law 4, law 12.
#[test]
fn a_broken_manifest_keeps_the_last_good_one_and_harms_no_other() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.step();
    world.put("a.yaml", &domain("a", "A"));
    world.put("b.yaml", &domain("b", "b.example.org"));
    let out = world.step();
    assert_eq!(out.tenants["a"].decision, Decision::Keep);
    assert!(refused(&out, "a")[0].starts_with("a.yaml:7:13: spec.domains[0]: "));
    assert_eq!(change(&out.tenants["b"]), Some(Change::New));
    assert_eq!(world.domains("a"), ["a.example.org"]);
    // Its domain is still its own.
    world.put("b.yaml", &domain("b", "a.example.org"));
    let out = world.step();
    assert!(
        refused(&out, "b")[0].contains("tenant `a`, as last accepted from a.yaml"),
        "{out:?}"
    );
    assert_eq!(world.domains("b"), ["b.example.org"]);
}

#[test]
fn an_error_goes_to_whom_it_is_about() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.step();
    // Nothing in it can be read, but the tenant is known to be in it.
    world.put("a.yaml", "{{{");
    world.put("x.yaml", "kind: Tenant\nmetadata: {name: NO}\n");
    world.put(
        "y.yaml",
        &format!("{}---\n{}", tenant("y", ""), tenant("z", "  domains: [\n")),
    );
    world.scan.files.insert(
        "u.yaml".into(),
        Err("Permission denied (os error 13)".into()),
    );
    let out = world.step();
    assert!(refused(&out, "a")[0].starts_with("a.yaml:"));
    assert!(out.files["x.yaml"].len() > 1);
    assert_eq!(
        out.files["u.yaml"][0].to_string(),
        "u.yaml: the file cannot be read: Permission denied (os error 13)"
    );
    assert_eq!(refused(&out, "y"), refused(&out, "z"));
    assert!(!out.tenants.contains_key("NO"));
    world.put(
        "y.yaml",
        &format!("{}---\n{}", tenant("y", ""), tenant("z", "  domain: []\n")),
    );
    let out = world.step();
    assert_eq!(
        change(&out.tenants["y"]),
        Some(Change::New),
        "the other document is good"
    );
    assert_eq!(refused(&out, "z").len(), 1);
}
