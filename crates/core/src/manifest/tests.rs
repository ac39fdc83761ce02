use super::*;

const TENANT: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata:
  name: ky04
  labels: {team: west}
spec:
  application: cbapp
  version: v0.3.0
  domains:
    - ky04.example.org
    - www.ky04.example.org
  ports: {api: 31000}
  env:
    LOG_LEVEL: debug
  secretRefs:
    - {name: API_KEY, file: /etc/cb/secrets/key}
";

const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions:
    - {name: v0.3.0, folder: {path: /srv/cbapp/v0.3.0}}
  services:
    - {name: frontend, command: bin/frontend, portOffset: 0}
    - {name: api, command: bin/api, portOffset: 1, healthCheck: {path: /health}}
  routes:
    - {path: /, service: frontend}
    - {path: /api/, service: api}
";

const HOST: &str = "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: h1}\n";

fn shown_errors(text: &str) -> Vec<String> {
    parse("a.yaml", text.as_bytes())
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The only error of a text.
fn error(text: &str) -> String {
    let errors = shown_errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}

fn with(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

#[test]
fn good_manifests_become_their_objects() {
    let text = format!("{TENANT}---\n{APPLICATION}---\n{HOST}---\n");
    let file = parse("a.yaml", text.as_bytes());
    assert_eq!(file.errors, []);
    let objects: Vec<_> = file
        .documents
        .iter()
        .map(|d| {
            d.object
                .as_ref()
                .map(|object| (object.kind(), object.name().to_owned()))
        })
        .collect();
    let expected = [
        (Kind::Tenant, "ky04"),
        (Kind::Application, "cbapp"),
        (Kind::Host, "h1"),
    ];
    assert_eq!(
        objects,
        expected.map(|(kind, name)| Some((kind, name.to_owned())))
    );
    assert_eq!(file.documents[1].position.line, TENANT.lines().count() + 2);
}

#[test]
fn all_errors_of_a_document_are_reported_at_once_in_order() {
    let text = "\
apiVersion: campaignbrain.io/v1
kind: Tenant
metadata: {name: KY04, label: {}}
domains: [a.example.org]
spec:
  aplication: cbapp
  version: 1.10
  domains:
    - ok.example.org
    - '*.example.org'
  ports: {api: 80, Web: 3000}
  suspend: yes
  driftPolicy: detect
  resources: {memory: 512MB, tasks: 0}
status: {}
";
    let errors = shown_errors(text);
    let expected = [
        "a.yaml:1:13: apiVersion: the API version `campaignbrain.io/v1` is not known (write `apiVersion: campaignbrain.io/v1alpha1`)",
        "a.yaml:3:18: metadata.name: `KY04` is not an RFC 1123 label: use only lower case letters, digits and `-`, and start and end with a letter or digit",
        "a.yaml:3:24: metadata: there is no field `label` (did you mean `labels`?)",
        "a.yaml:4:1: there is no field `domains` (`domains` belongs under `spec`; check the indentation)",
        "a.yaml:6:3: spec: there is no field `aplication` (did you mean `application`?)",
        "a.yaml:6:3: spec: `application` is missing",
        "a.yaml:7:12: spec.version: this must be text, but it is the number 1.10 (put it in quotes: \"1.10\")",
        "a.yaml:10:7: spec.domains[1]: `*.example.org` is not a domain name: each label has 1 to 63 lower case letters, digits and `-`, and starts and ends with a letter or digit (for example ky04.example.org)",
        "a.yaml:11:16: spec.ports.api: 80 is too small (use 1024 to 65535)",
        "a.yaml:11:20: spec.ports: `Web` is not an RFC 1123 label: use only lower case letters, digits and `-`, and start and end with a letter or digit",
        "a.yaml:12:12: spec.suspend: this must be true or false, but it is text (write `true`)",
        "a.yaml:13:16: spec.driftPolicy: `detect` is not one of `Correct`, `Detect` (did you mean `Detect`?)",
        "a.yaml:14:23: spec.resources.memory: `512MB` is not an amount of memory: write a whole number of bytes or one with Ki, Mi, Gi, Ti, k, M, G or T (for example 512Mi)",
        "a.yaml:14:37: spec.resources.tasks: 0 is too small (use 1 to 1000000)",
        "a.yaml:15:1: status: a manifest must not have a status: the operator writes what it saw to the `.status.yaml` beside the manifest (remove `status`)",
    ];
    assert_eq!(errors, expected, "{errors:#?}");
}

#[test]
fn a_document_that_is_no_object_is_refused_with_what_to_write() {
    assert!(error("").contains("no object in it"));
    assert!(error("# only a comment\n---\n").contains("no object in it"));
    assert!(error("- a\n").contains("must be a mapping, but this is a list"));
    assert!(error("a: 1\n").starts_with("a.yaml:1:1: kind: the kind is missing"));
    assert!(error("kind: tenant\n").contains("did you mean `Tenant`?"));
    assert!(error("kind: Deployment\n").contains("write `kind: Tenant`"));
    assert!(error("kind: [Tenant]\n").contains("it is a list"));
    let none = with(TENANT, "apiVersion: campaignbrain.io/v1alpha1\n", "");
    assert!(error(&none).contains("`apiVersion` is missing"));
}

#[test]
fn a_field_without_a_value_counts_as_not_set() {
    let text = with(TENANT, "    LOG_LEVEL: debug\n", "");
    assert_eq!(shown_errors(&text), [""; 0]);
    let text = with(TENANT, "version: v0.3.0", "version:");
    assert_eq!(
        error(&text),
        "a.yaml:8:3: spec.version: the value is missing"
    );
    let text = with(TENANT, "LOG_LEVEL: debug", "LOG_LEVEL:");
    assert!(error(&text).contains("write `\"\"` for an empty text"));
}

#[test]
fn a_fault_in_one_document_leaves_the_others_of_its_file() {
    let text = format!(
        "{}---\n{APPLICATION}",
        with(TENANT, "version: v0.3.0", "version: v0.3.0\n  version: v1")
    );
    let file = parse("a.yaml", text.as_bytes());
    assert_eq!(file.errors.len(), 1);
    assert_eq!(file.errors[0].name.as_deref(), Some("ky04"));
    let objects: Vec<_> = file.documents.iter().map(|d| d.object.is_some()).collect();
    assert_eq!(objects, [false, true]);
}

/// What stands before a syntax error is named, but not acted on.
#[test]
fn a_file_that_is_not_yaml_gives_no_object() {
    let file = parse(
        "a.yaml",
        format!("{TENANT}---\n{APPLICATION}  - [\n").as_bytes(),
    );
    assert_eq!(file.errors.len(), 1);
    assert_eq!(file.documents.len(), 2);
    assert!(file.documents.iter().all(|d| d.object.is_none()));
    assert_eq!(file.documents[0].name.as_deref(), Some("ky04"));
}

/// Law 11.
#[test]
fn no_message_shows_the_value_of_a_variable() {
    let mut seen = 0;
    for env in [
        "hunter2",
        "[API_KEY=hunter2]",
        "{API_KEY: [hunter2]}",
        "{API_KEY: {hunter2x: hunter2}}",
        "{API_KEY: \"hunter2\\nx\"}",
        "{API_KEY: 4711}",
        "{API_KEY: 47.11}",
        "{API_KEY: true}",
        "{API_KEY=hunter2: x}",
        "{API KEY=hunter2: ''}",
        "{CB_TENANT: hunter2}",
        "{API_KEY: hunter2}",
        "{API_KEY: !hunter2}",
        "{API_KEY: *hunter2}",
        "{API_KEY: \"hunter2}",
        "{API_KEY: 'hunter2' hunter2}",
        "{API_KEY: @hunter2}",
        "{API_KEY: `hunter2}",
        "{API_KEY: %hunter2}",
        "{API_KEY: \"hunter2\\q\"}",
        "{API_KEY: hunter2, API_KEY: hunter2}",
    ] {
        let text = with(TENANT, "env:\n    LOG_LEVEL: debug", &format!("env: {env}"));
        for error in shown_errors(&text) {
            seen += 1;
            for secret in ["hunter2", "4711", "47.11", "true"] {
                assert!(!error.contains(secret), "{env}: {error}");
            }
        }
    }
    assert!(seen > 15, "{seen}");
    let text = with(TENANT, "name: API_KEY,", "name: API_KEY=hunter2,");
    assert!(error(&text).contains("`API_KEY=…`"));
}

#[test]
fn names_that_others_set_and_names_set_twice_are_refused() {
    for name in [
        "CB_TENANT",
        "CB_API_PORT",
        "CB_MY_SERVICE_PORT",
        "PORT",
        "OLLAMA_URL",
        "NOTIFY_SOCKET",
    ] {
        let message = error(&with(TENANT, "LOG_LEVEL", name));
        assert!(
            message.starts_with(&format!(
                "a.yaml:14:5: spec.env.{name}: `{name}` is set by "
            )),
            "{message}"
        );
        let variable = format!("name: {name}, delivery: Environment");
        let message = error(&with(TENANT, "name: API_KEY", &variable));
        assert!(
            message.starts_with("a.yaml:16:14: spec.secretRefs[0].name: "),
            "{message}"
        );
    }
    for name in ["PATH", "LD_PRELOAD", "CB_FEATURE", "CB_PORT"] {
        assert_eq!(shown_errors(&with(TENANT, "LOG_LEVEL", name)), [""; 0]);
    }
    let variable = "name: LOG_LEVEL, delivery: Environment";
    let message = error(&with(TENANT, "name: API_KEY", variable));
    assert!(message.contains("is set in `spec.env` too"), "{message}");
}

#[test]
fn what_must_be_unique_in_a_tenant_is() {
    let message = error(&with(TENANT, "www.ky04.example.org", "ky04.example.org"));
    assert!(message.contains("spec.domains[1]: `ky04.example.org` is already in spec.domains[0]"));
    let message = error(&with(TENANT, "{api: 31000}", "{api: 31000, web: 31000}"));
    assert!(message.contains("spec.ports.web: port 31000 is already that of service `api`"));
    let errors = shown_errors(&with(TENANT, "{team: west}", "{te%am: west, a: b/c}"));
    assert!(
        errors[0]
            .starts_with("a.yaml:5:12: metadata.labels[\"te%am\"]: `te%am` is not a label key")
    );
    assert!(errors[1].starts_with("a.yaml:5:28: metadata.labels.a: `b/c` is not a label value"));
}

#[test]
fn an_application_is_consistent_in_itself() {
    for (old, new, message) in [
        (
            "folder: {path: /srv/cbapp/v0.3.0}",
            "",
            "versions[0]: a version needs a source",
        ),
        (
            "path: /srv/cbapp/v0.3.0}",
            "path: /srv/cbapp/v0.3.0}, archive: {path: /a.tar, sha256: SUM}",
            "versions[0]: a version has one source",
        ),
        (
            "    - {name: v0.3.0",
            "    - {name: v0.3.0, folder: {path: /a}}\n    - {name: v0.3.0",
            "versions[1].name: `v0.3.0` is already in spec.versions[0].name",
        ),
        (
            "name: frontend,",
            "name: api,",
            "services[1].name: `api` is already in",
        ),
        (
            "portOffset: 1",
            "portOffset: 0",
            "services[1].portOffset: `0` is already in",
        ),
        (
            "service: api",
            "service: apl",
            "routes[1].service: there is no service `apl` (did you mean `api`?)",
        ),
        (
            "path: /api/",
            "path: /",
            "routes[1].path: `/` is already in spec.routes[0].path",
        ),
        (
            "path: /api/",
            "path: /a/./b",
            "routes[1].path: `/a/./b` is not a URL path",
        ),
        (
            "path: /api/",
            "path: /.well-known/acme-challenge/",
            "routes[1].path: `/.well-known/acme-challenge/` is never sent to a service",
        ),
        (
            "/health",
            "health",
            "healthCheck.path: `health` is not a URL path",
        ),
        (
            "spec:",
            "spec:\n  databaseFile: db/a.duckdb",
            "databaseFile: `db/a.duckdb` is not the name",
        ),
        (
            "portOffset: 1,",
            "portOffset: 1, env: {PORT: x},",
            "services[1].env.PORT: `PORT` is set by the operator",
        ),
    ] {
        let text = with(APPLICATION, old, new).replace("SUM", &"a".repeat(64));
        let errors = shown_errors(&text);
        assert!(
            errors.iter().any(|error| error.contains(message)),
            "{message}: {errors:#?}"
        );
    }
    assert!(
        error(&format!("{HOST}spec: {{ports: {{base: 65000}}}}\n"))
            .contains("use at most 53 slots")
    );
    assert_eq!(
        shown_errors(&with(
            APPLICATION,
            "  versions:\n    - {name: v0.3.0, folder: {path: /srv/cbapp/v0.3.0}}",
            "  versions: []"
        )),
        ["a.yaml:5:13: spec.versions: at least 1 is needed"]
    );
}

#[test]
fn a_hostile_file_gives_a_bounded_number_of_short_errors() {
    let keys: String = (0..5000).map(|n| format!("k{n}: 1\n")).collect();
    let errors = shown_errors(&format!("kind: Tenant\n{keys}"));
    assert_eq!(errors.len(), yaml::MAX_ERRORS + 1);
    assert!(
        errors
            .iter()
            .all(|error| error.len() < 400 && !error.contains('\n'))
    );
    let errors = shown_errors(&format!("kind: {}\n", "x".repeat(100_000)));
    assert!(errors[0].len() < 300);
}

fn cross(files: &[(&str, String)]) -> Vec<String> {
    let files: Vec<File> = files
        .iter()
        .map(|(name, text)| parse(name, text.as_bytes()))
        .collect();
    for file in &files {
        assert_eq!(file.errors, []);
    }
    cross::check(&files)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_two_tenants_claim_is_reported_on_both_with_the_place_of_the_other() {
    let other = TENANT
        .replace("name: ky04", "name: ky05")
        .replace("- ky04", "- ky05");
    let found = cross(&[("a.yaml", TENANT.into()), ("b.yaml", other.clone())]);
    assert_eq!(
        found,
        [
            "a.yaml:11:7: spec.domains[1]: domain `www.ky04.example.org` is also that of tenant `ky05` (b.yaml:11:7) (a domain belongs to one tenant; remove it from one of the two)",
            "a.yaml:12:16: spec.ports.api: port 31000 is also that of tenant `ky05` (b.yaml:12:16) (choose another port for one of the two)",
            "b.yaml:11:7: spec.domains[1]: domain `www.ky04.example.org` is also that of tenant `ky04` (a.yaml:11:7) (a domain belongs to one tenant; remove it from one of the two)",
            "b.yaml:12:16: spec.ports.api: port 31000 is also that of tenant `ky04` (a.yaml:12:16) (choose another port for one of the two)",
        ]
    );
    let placed = |text: &str, host: &str| {
        let text = text.replace("www.", &format!("{host}."));
        format!("{text}  placement: {{hostSelector: {{host: {host}}}}}\n")
    };
    let apart = cross(&[
        ("a.yaml", placed(TENANT, "h1")),
        ("b.yaml", placed(&other, "h2")),
    ]);
    assert_eq!(apart, [""; 0]);
}

#[test]
fn a_name_in_two_files_is_reported_on_both() {
    let found = cross(&[("a.yaml", TENANT.into()), ("b.yaml", TENANT.into())]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("a.yaml:4:9: metadata.name: tenant `ky04` is also in b.yaml:4:9"));
    assert!(found[1].starts_with("b.yaml:4:9: metadata.name: tenant `ky04` is also in a.yaml:4:9"));
}

#[test]
fn two_tenants_with_the_same_unit_are_reported() {
    let one = "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {name: NAME}\nspec: {application: cbapp, version: v0.3.0}\n";
    let application = APPLICATION.replace("frontend", "x-api");
    let found = cross(&[
        ("a.yaml", one.replace("NAME", "ky")),
        ("app.yaml", application),
        ("b.yaml", one.replace("NAME", "ky-x")),
    ]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("unit `ky-x-api.service` is also that of tenant `ky-x`"));
}

#[test]
fn references_are_checked_where_there_is_an_application() {
    assert_eq!(
        cross(&[("a.yaml", TENANT.into()), ("app.yaml", APPLICATION.into())]),
        [""; 0]
    );
    for (old, new, message) in [
        (
            "application: cbapp",
            "application: cbap",
            "spec.application: there is no Application `cbap` (did you mean `cbapp`?)",
        ),
        (
            "version: v0.3.0",
            "version: v9",
            "spec.version: Application `cbapp` has no version `v9` (there is `v0.3.0`)",
        ),
        (
            "{api: 31000}",
            "{apj: 31000}",
            "spec.ports.apj: Application `cbapp` has no service `apj` (did you mean `api`?)",
        ),
    ] {
        let found = cross(&[
            ("a.yaml", with(TENANT, old, new)),
            ("app.yaml", APPLICATION.into()),
        ]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(message), "{found:#?}");
        assert_eq!(cross(&[("a.yaml", with(TENANT, old, new))]), [""; 0]);
    }
    let host = format!("{HOST}spec: {{ports: {{stride: 1}}}}\n");
    let found = cross(&[("app.yaml", APPLICATION.into()), ("host.yaml", host)]);
    assert_eq!(
        found,
        [
            "app.yaml:9:49: spec.services[1].portOffset: the offset 1 is not in a slot of 1 ports (use 0 to 0, or raise the Host's `ports.stride`)"
        ]
    );
}

/// The examples that people start from are good, and good together.
#[test]
fn the_manifests_in_the_tree_are_good() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["manifests", "examples/manifests", "examples/secrets"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "yaml") {
                files.push(parse(
                    &path.display().to_string(),
                    &std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    assert!(
        files.iter().all(|file| file.errors.is_empty()),
        "{files:#?}"
    );
    assert_eq!(cross::check(&files), []);
    for kind in Kind::ALL {
        assert!(
            files
                .iter()
                .flat_map(|f| &f.documents)
                .any(|d| d.kind == Some(kind)),
            "{kind}"
        );
    }
}
