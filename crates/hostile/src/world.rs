//! Objects around a place, and what they make of a host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cb_core::api::{Application, Host, Kind, Tenant};
use cb_core::certificate::Certificates;
use cb_core::desired::{Desired, Inputs};
use cb_core::manifest::{self, AnyObject};
use cb_core::record::Ports;
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::places::{Place, SAMPLES, Start};
use crate::site::Directive;
use crate::{env, site, unit};

/// Objects to put text into. A place is tested in the first of its kind that
/// takes harmless text there.
const BASES: [&str; 10] = [
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: ky04}
spec:
  displayName: Kentucky
  application: cbapp
  version: v1
  domains: [ky04.example.org]
  env: {GREETING: hello}
  database: {i360: true}
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: ky04}
spec:
  application: cbapp
  version: v1
  domains: [ky04.example.org]
  tls: {certificateFile: /etc/ssl/ky04.pem, keyFile: /etc/ssl/ky04.key}
  secretRefs: [{name: KEY, file: /etc/key}]
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions: [{name: v1, folder: {path: /srv/v1}}]
  services:
  - name: api
    command: bin/api
    args: [$(PORT), $(CB_DISPLAY_NAME), last]
    portOffset: 1
    env: {SELF: '$(CB_DISPLAY_NAME) on $(PORT)'}
    healthCheck: {path: /health}
  - {name: frontend, command: bin/frontend, portOffset: 0}
  routes: [{path: /, service: api}]
",
    // Without routes a service may have another name.
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions: [{name: v1, folder: {path: /srv/v1}}]
  services: [{name: api, command: bin/api, portOffset: 1}]
  database: {migrations: {folder: migrations}}
",
    // A service to be named by a route.
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions: [{name: v1, folder: {path: /srv/v1}}]
  services: [{name: zqsample, command: bin/api, portOffset: 1}]
  routes: [{path: /, service: zqsample}]
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  sharedServices:
    i360: {path: /srv/i360/voters.duckdb}
    ollama: {url: 'http://127.0.0.1:11434'}
  certificates: {acme: {termsOfServiceAgreed: true}}
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  alerts: {sinks: [{name: a, webhook: {url: 'http://127.0.0.1:1'}}]}
  source: {git: {repository: 'https://git.example.org/x'}}
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  source: {git: {repository: 'ssh://git@example.org/x', sshKeyFile: /k}}
  certificates: {acme: {termsOfServiceAgreed: true}}
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  alerts: {sinks: [{name: a, command: {program: /bin/a}}]}
",
    "
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  alerts: {sinks: [{name: a, email: {to: [a@example.org], from: b@example.org}}]}
",
];

/// A place in an object that takes text there.
#[derive(Debug)]
pub struct Setting {
    /// The place.
    pub place: Place,
    /// Harmless text that is taken there.
    pub sample: &'static str,
    base: Json,
    start: Start,
}

impl Setting {
    /// An object that takes harmless text in this place; `None` if none of the
    /// bases does.
    #[must_use]
    pub fn of(place: Place) -> Option<Setting> {
        for base in BASES {
            let base: Json = serde_yaml::from_str(base).expect("a valid constant");
            if base["kind"] != place.kind.as_str() {
                continue;
            }
            for start in [Start::AsInBase, Start::Empty] {
                let takes = |text: &&str| read(&manifest(&place.with(&base, start, text))).is_ok();
                if let Some(sample) = SAMPLES.into_iter().find(takes) {
                    return Some(Setting {
                        place,
                        sample,
                        base,
                        start,
                    });
                }
            }
        }
        None
    }

    /// The manifest with this text in the place.
    #[must_use]
    pub fn manifest(&self, text: &str) -> String {
        manifest(&self.place.with(&self.base, self.start, text))
    }
}

/// An object as a manifest. Every character beyond ASCII and every control
/// character is escaped, so that it is the field that has to refuse it.
#[must_use]
pub fn manifest(object: &Json) -> String {
    let json = object.to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match u32::from(c) {
            0x20..=0x7e => out.push(c),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

/// Reads a manifest of one object.
///
/// # Errors
/// Every message about it.
pub fn read(manifest: &str) -> Result<AnyObject, Vec<String>> {
    let file = manifest::parse("x.yaml", manifest.as_bytes());
    if !file.errors.is_empty() {
        return Err(file.errors.iter().map(ToString::to_string).collect());
    }
    let mut objects = file.documents.into_iter().filter_map(|d| d.object);
    objects.next().ok_or_else(|| vec!["no object".to_owned()])
}

/// An object with those of the other kinds that fit to it.
#[must_use]
pub fn objects(object: &AnyObject) -> Objects {
    let (mut tenant, mut application, mut host) = bases().clone();
    match object {
        AnyObject::Tenant(of) => {
            tenant = Arc::clone(of);
            let application = Arc::make_mut(&mut application);
            application.metadata.name = of.spec.application.clone();
            application.spec.versions[0].name = of.spec.version.clone();
        }
        AnyObject::Application(of) => {
            application = Arc::clone(of);
            let tenant = Arc::make_mut(&mut tenant);
            tenant.spec.application = of.metadata.name.clone();
            tenant.spec.version = of.spec.versions[0].name.clone();
        }
        AnyObject::Host(of) => host = Arc::clone(of),
    }
    (tenant, application, host)
}

/// What is rendered of a tenant: the text of each file by its path.
pub type Files = Vec<(PathBuf, String)>;

/// The files of a tenant, by an object and the bases of the other kinds; every
/// secret of it is `secret`.
///
/// # Errors
/// Why there are none: the objects do not fit together.
pub fn files(object: &AnyObject, secret: impl Into<Vec<u8>>) -> Result<Files, String> {
    let (tenant, application, host) = objects(object);
    let services = application.spec.services.iter();
    let ports = services
        .zip(32300..)
        .map(|(s, port)| (s.name.clone(), port));
    let ports = Ports {
        slot: Some(0),
        by_service: ports.collect(),
        skipped: vec![],
    };
    let opened = Opened::Content(SecretValue::new(secret, &FingerprintKey::new([0; 32])));
    let secrets = SecretSource::all(&tenant.spec).into_iter();
    let secrets: BTreeMap<_, _> = secrets.map(|of| (of, Ok(opened.clone()))).collect();
    let desired = Desired::of(Inputs {
        tenant: &tenant,
        application: &application,
        host: &host,
        ports: &ports,
        secrets: &secrets,
        certificates: &Certificates::default(),
    });
    let desired = desired.map_err(|error| error.to_string())?;
    let files = [desired.sysusers, desired.env].into_iter();
    let files = files.chain(desired.services.into_iter().map(|s| s.file));
    let files = files.chain(desired.site);
    Ok(files.map(|file| (file.path, file.content)).collect())
}

/// The tenant that the other kinds are tested with.
#[must_use]
pub fn tenant() -> Tenant {
    Tenant::clone(&bases().0)
}

/// The Application that the other kinds are tested with.
#[must_use]
pub fn application() -> Application {
    Application::clone(&bases().1)
}

/// One object of each kind.
pub type Objects = (Arc<Tenant>, Arc<Application>, Arc<Host>);

/// The first base of each kind.
fn bases() -> &'static Objects {
    fn first<T: DeserializeOwned>(kind: Kind) -> Arc<T> {
        let kind = format!("kind: {kind}\n");
        let base = BASES.iter().find(|base| base.contains(&kind));
        let base = base.expect("one of each kind");
        Arc::new(serde_yaml::from_str(base).expect("a valid constant"))
    }
    static OBJECTS: OnceLock<Objects> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let (tenant, application) = (first(Kind::Tenant), first(Kind::Application));
        (tenant, application, first(Kind::Host))
    })
}

/// What files say, without how they are quoted: for each thing that they say,
/// where and which, and its words.
///
/// # Errors
/// What is not as the operator writes it.
pub fn meaning(files: &Files) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut out = Vec::new();
    for (path, text) in files {
        let path = path.display().to_string();
        let wrong = |why: String| format!("{path}: {why}");
        match path.rsplit('.').next() {
            Some("service") => {
                for s in unit::read(text).map_err(wrong)? {
                    let what = format!("{path} [{}] {} {:?}", s.section, s.key, s.specials);
                    out.push((what, s.words));
                }
            }
            Some("env") => {
                for (name, value) in env::read(text).map_err(wrong)? {
                    out.push((format!("{path} {name}"), vec![value]));
                }
            }
            Some("conf") if text.contains("server {") => {
                for d in site::read(text).map_err(wrong)? {
                    // It is there if no route is for `/`, and says nothing else.
                    if is_not_found(&d) {
                        out.pop();
                        continue;
                    }
                    out.push((format!("{path} {:?}", d.within), d.words));
                }
            }
            _ => {
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                out.extend(lines.map(|line| (path.clone(), vec![line.to_owned()])));
            }
        }
    }
    Ok(out)
}

/// Whether a directive is all that is said of paths that no route is for; its
/// block is what was said before it.
fn is_not_found(of: &Directive) -> bool {
    let block = of.within.last();
    of.words == ["return", "404"] && block.is_some_and(|block| *block == ["location", "/"])
}

/// Checks that files with `text` in a place say just what those with `sample`
/// there say, but for the text itself.
///
/// # Errors
/// The first difference.
pub fn same_but_for(
    files: &Files,
    text: &str,
    harmless: &Files,
    sample: &str,
) -> Result<(), String> {
    let (found, wanted) = (meaning(files)?, meaning(harmless)?);
    let upper = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let put = |of: &str| {
        let of = of.replace(sample, text);
        of.replace(&upper(sample), &upper(text))
    };
    let shows = wanted.iter().any(|(what, words)| {
        what.contains(sample) || words.iter().any(|word| word.contains(sample))
    });
    if found.len() != wanted.len() {
        return Err(format!(
            "{} things are said, not {}",
            found.len(),
            wanted.len()
        ));
    }
    for ((what, words), (wanted, wanted_words)) in found.iter().zip(&wanted) {
        if *what != put(wanted) {
            return Err(format!("{what} instead of {wanted}"));
        }
        let mut words = words.clone();
        let mut wanted_words: Vec<String> = wanted_words.iter().map(|word| put(word)).collect();
        if what.contains("Paths ") {
            // A list that is sorted.
            words.sort();
            wanted_words.sort();
        }
        // An amount is not shown as it is written.
        if words.len() != wanted_words.len() || shows && words != wanted_words {
            return Err(format!("{what}: {words:?} instead of {wanted_words:?}"));
        }
    }
    Ok(())
}
