mod tls;

use super::*;
use crate::api::SecretDelivery;
use crate::secret::{FingerprintKey, SecretValue};

const TENANT: &str = r#"
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: ky04}
spec:
  displayName: Kentucky's "4th" 100%
  application: cbapp
  version: v0.2.0
  domains: [ky04.example.org, www.ky04.example.org]
  env: {GREETING: 'a $HOME `x` \ " %n', PLAIN: yes-1}
  secretRefs:
  - {name: API_KEY, file: /etc/cb/secrets/ky04, delivery: Environment}
  - {name: db-password, age: secrets/db.age}
  - {name: tls.key, credential: /etc/credstore.encrypted/ky04}
  - {name: token, sops: {file: ky04.sops.yaml, key: api.token}}
  envFrom: [{age: ky04.env.age}, {sops: ky04.sops.env}]
  database: {i360: true}
  resources: {memory: 512Mi, cpu: 500m, tasks: 64}
"#;

const APPLICATION: &str = r#"
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions: [{name: v0.1.0, folder: {path: /srv/v1}}, {name: v0.2.0, folder: {path: /srv/v2}}]
  services:
  - name: api
    command: bin/cbapp-api
    args: [--port, $(PORT), '50% $x "q"']
    portOffset: 1
    env: {SELF: 'http://$(CB_TENANT):$(PORT)/$(NOPE)%i'}
    healthCheck: {path: /health}
  - {name: frontend, command: bin/cbapp-frontend, portOffset: 0}
  routes: [{path: /, service: frontend}, {path: /api/, service: api}]
"#;

const HOST: &str = r#"
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: one}
spec:
  sharedServices:
    i360: {path: /srv/i360/voters.duckdb}
    ollama: {url: "http://127.0.0.1:11434"}
"#;

/// What is read of the tenant's secrets; each has `word` in it.
fn secrets(word: &str) -> BTreeMap<SecretSource, Result<Opened, String>> {
    let key = FingerprintKey::new([1; 32]);
    let value = |text: String| SecretValue::new(text, &key);
    let content = |text: String| Ok(Opened::Content(value(text)));
    let values = |key: &str, text: String| Ok(Opened::Values(vec![(key.into(), value(text))]));
    let credential = SecretSource::Credential {
        name: "tls.key".parse().unwrap(),
        file: "/etc/credstore.encrypted/ky04".into(),
    };
    BTreeMap::from([
        (
            SecretSource::File("/etc/cb/secrets/ky04".into()),
            content(format!("{word} \"$x\n")),
        ),
        (
            SecretSource::Age("secrets/db.age".parse().unwrap()),
            content(format!("{word}-db\nline\n")),
        ),
        (
            credential,
            Ok(Opened::Credential {
                sealed: value("ciphertext".into()),
                value: value(format!("{word}-key")),
            }),
        ),
        (
            SecretSource::Sops("ky04.sops.yaml".parse().unwrap()),
            values("api.token", format!("{word}-token")),
        ),
        (
            SecretSource::Age("ky04.env.age".parse().unwrap()),
            content(format!("FROM_AGE='{word} age'\n")),
        ),
        (
            SecretSource::Sops("ky04.sops.env".parse().unwrap()),
            values("FROM_SOPS", format!("{word}-sops")),
        ),
    ])
}

fn desired(edit: impl FnOnce(&mut Tenant, &mut Host)) -> Result<Desired, DesireError> {
    desired_with(&secrets("s3cr3t"), edit)
}

fn desired_with(
    secrets: &BTreeMap<SecretSource, Result<Opened, String>>,
    edit: impl FnOnce(&mut Tenant, &mut Host),
) -> Result<Desired, DesireError> {
    desired_of(secrets, &Certificates::default(), edit)
}

fn desired_of(
    secrets: &BTreeMap<SecretSource, Result<Opened, String>>,
    certificates: &Certificates,
    edit: impl FnOnce(&mut Tenant, &mut Host),
) -> Result<Desired, DesireError> {
    let mut tenant: Tenant = serde_yaml::from_str(TENANT).unwrap();
    let application: Application = serde_yaml::from_str(APPLICATION).unwrap();
    let mut host: Host = serde_yaml::from_str(HOST).unwrap();
    edit(&mut tenant, &mut host);
    of(&tenant, &application, &host, (secrets, certificates))
}

fn of(
    tenant: &Tenant,
    application: &Application,
    host: &Host,
    (secrets, certificates): (
        &BTreeMap<SecretSource, Result<Opened, String>>,
        &Certificates,
    ),
) -> Result<Desired, DesireError> {
    let by_service = [("api", 32301), ("frontend", 32300)];
    let by_service = by_service
        .map(|(name, port)| (name.parse().unwrap(), port))
        .into();
    let ports = Ports {
        slot: Some(0),
        by_service,
        skipped: vec![],
    };
    Desired::of(Inputs {
        tenant,
        application,
        host,
        ports: &ports,
        secrets,
        certificates,
    })
}

#[test]
fn the_text_of_every_file() {
    let desired = desired(|_, _| {}).unwrap();
    let files = [&desired.sysusers, &desired.env];
    let files = files
        .into_iter()
        .chain(desired.services.iter().map(|s| &s.file));
    let text: String = files
        .chain(&desired.site)
        .map(|file| {
            format!(
                "==> {} {:o}\n{}\n",
                file.path.display(),
                file.mode,
                file.content
            )
        })
        .collect();
    insta::assert_snapshot!(text);
}

/// nginx never answers from a folder of its own, whatever routes there are.
#[test]
fn what_no_route_is_for_is_not_found() {
    let rest = "    location / {\n        return 404;\n    }\n}\n";
    for (routes, ends) in [
        ("[]", true),
        ("[{path: /api/, service: api}]", true),
        (
            "[{path: /, service: frontend}, {path: /api/, service: api}]",
            false,
        ),
        // Without a port it is no route.
        ("[{path: /, service: worker}]", true),
    ] {
        let mut application: Application = serde_yaml::from_str(APPLICATION).unwrap();
        application.spec.routes = serde_yaml::from_str(routes).unwrap();
        let desired = of(
            &serde_yaml::from_str(TENANT).unwrap(),
            &application,
            &serde_yaml::from_str(HOST).unwrap(),
            (&secrets("s3cr3t"), &Certificates::default()),
        );
        let site = desired.unwrap().site.unwrap().content;
        assert_eq!(site.ends_with(rest), ends, "{routes}: {site}");
        assert_eq!(site.matches("location / ").count(), 1, "{routes}: {site}");
    }
}

/// Law 11: a secret is in what delivers it and nowhere else.
#[test]
fn a_secret_does_not_show() {
    let desired = desired(|_, _| {}).unwrap();
    assert!(desired.env.content.contains("s3cr3t"));
    let content = |c: &Credential| String::from_utf8(c.content.reveal().to_vec()).unwrap();
    let credentials: Vec<_> = desired
        .credentials
        .iter()
        .map(|c| (c.name.as_str(), c.path.to_str().unwrap(), content(c)))
        .collect();
    let folder = "/etc/cb/tenants/ky04/credentials";
    assert_eq!(
        credentials,
        [
            (
                "db-password",
                &*format!("{folder}/db-password"),
                "s3cr3t-db\nline\n".into()
            ),
            (
                "tls.key",
                &*format!("{folder}/tls.key.cred"),
                "ciphertext".into()
            ),
            ("token", &*format!("{folder}/token"), "s3cr3t-token".into()),
        ]
    );
    let services = desired.services.iter().map(|s| s.file.content.as_str());
    assert!(
        services
            .chain(desired.site.iter().map(|f| f.content.as_str()))
            .all(|c| !c.contains("s3cr3t"))
    );
    assert!(!format!("{desired:?}").contains("s3cr3t"));
}

#[test]
fn objects_that_do_not_fit_are_refused_with_what_would_fit() {
    let error = desired(|tenant, _| tenant.spec.version = "v9".parse().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.version: application `cbapp` has no version `v9`; it has `v0.1.0`, `v0.2.0`"
    );
    let error = desired(|_, host| host.spec.ports.stride = 1).unwrap_err();
    assert!(
        matches!(error, DesireError::OffsetOutsideSlot { .. }),
        "{error}"
    );
}

/// Law 12: file, field and reason, and never the value.
#[test]
fn a_secret_that_cannot_be_delivered_is_told_by_field_and_file() {
    let error = |edit: &dyn Fn(&mut Tenant)| {
        let error = desired(|tenant, _| edit(tenant)).unwrap_err().to_string();
        assert!(!error.contains("s3cr3t"), "{error}");
        error
    };
    assert_eq!(
        error(&|tenant| tenant.spec.secret_refs[0].file = "/nope".parse().ok()),
        "spec.secretRefs[0]: API_KEY cannot be read from /nope: it was not read"
    );
    assert_eq!(
        error(&|tenant| {
            tenant.spec.secret_refs[1].delivery = SecretDelivery::Environment;
            tenant.spec.secret_refs[1].name = "DB".parse().unwrap();
        }),
        "spec.secretRefs[1]: DB cannot be read from secrets/db.age: it must hold one line of text without control characters"
    );
    assert_eq!(
        error(&|tenant| {
            let sops = tenant.spec.secret_refs[3].sops.as_mut().unwrap();
            sops.key = "api.nope".parse().unwrap();
        }),
        "spec.secretRefs[3]: token cannot be read from ky04.sops.yaml: it has no value at `api.nope`"
    );
    assert_eq!(
        error(&|tenant| {
            let name = "FROM_AGE".parse().unwrap();
            tenant.spec.env.insert(name, "x".parse().unwrap());
        }),
        "spec.envFrom[0]: the variables in ky04.env.age cannot be read: `FROM_AGE` is set elsewhere in the manifest too"
    );
    assert_eq!(
        error(&|tenant| tenant.spec.env_from[0].age = "secrets/db.age".parse().ok()),
        "spec.envFrom[0]: the variables in secrets/db.age cannot be read: line 1 is not NAME=VALUE"
    );
}

#[test]
fn a_service_is_restarted_for_what_it_is_started_with_and_nothing_else() {
    let base = desired(|_, _| {}).unwrap();
    let revision = |d: &Desired| {
        d.services
            .iter()
            .map(|s| s.revision.clone())
            .collect::<Vec<_>>()
    };
    let site = desired(|tenant, _| {
        tenant.spec.domains.pop();
    });
    assert_eq!(revision(&site.as_ref().unwrap().clone()), revision(&base));
    assert_ne!(site.unwrap().digest(), base.digest());
    let env = desired(|tenant, _| {
        tenant.spec.env.clear();
    });
    assert_ne!(revision(&env.unwrap()), revision(&base));
    // A secret, although the unit's text is the same.
    let other = desired_with(&secrets("0ther"), |_, _| {}).unwrap();
    assert_ne!(revision(&other), revision(&base));
    assert_eq!(other.services[0].file, base.services[0].file);
}
