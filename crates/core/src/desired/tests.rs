use super::*;

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
  secretRefs: [{name: API_KEY, file: /etc/cb/secrets/ky04}]
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

fn desired(edit: impl FnOnce(&mut Tenant, &mut Host)) -> Result<Desired, DesireError> {
    let mut tenant: Tenant = serde_yaml::from_str(TENANT).unwrap();
    let application: Application = serde_yaml::from_str(APPLICATION).unwrap();
    let mut host: Host = serde_yaml::from_str(HOST).unwrap();
    edit(&mut tenant, &mut host);
    let by_service = [("api", 32301), ("frontend", 32300)];
    let by_service = by_service
        .map(|(name, port)| (name.parse().unwrap(), port))
        .into();
    let ports = Ports {
        slot: Some(0),
        by_service,
        skipped: vec![],
    };
    let secret = Ok(Secret::new("s3cr3t \"$x".into()));
    let secrets = BTreeMap::from([("/etc/cb/secrets/ky04".into(), secret)]);
    Desired::of(Inputs {
        tenant: &tenant,
        application: &application,
        host: &host,
        ports: &ports,
        secrets: &secrets,
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

#[test]
fn https_has_a_redirect_and_no_domains_means_no_site() {
    let tls = desired(|tenant, host| {
        tenant.spec.tls = Some(crate::api::Tls {
            certificate_file: "/etc/ssl/ky04.pem".parse().unwrap(),
            key_file: "/etc/ssl/ky04.key".parse().unwrap(),
        });
        host.spec.nginx.ipv6 = false;
    });
    insta::assert_snapshot!(tls.unwrap().site.unwrap().content);
    let none = desired(|tenant, _| tenant.spec.domains.clear()).unwrap();
    assert_eq!((none.site, none.urls), (None, vec![]));
}

/// Law 11: a secret is in the `.env` and nowhere else.
#[test]
fn a_secret_does_not_show() {
    let desired = desired(|_, _| {}).unwrap();
    assert!(desired.env.content.contains("s3cr3t"));
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
    let error = desired(|tenant, _| tenant.spec.secret_refs[0].file = "/nope".parse().unwrap());
    assert!(matches!(error, Err(DesireError::Secret { .. })));
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
}
