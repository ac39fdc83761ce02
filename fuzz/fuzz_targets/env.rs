//! What a service finds in its environment is what was written, secrets too.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use cb_core::api::TenantSpec;
use cb_core::manifest::AnyObject;
use cb_core::types::{EnvName, EnvValue};
use cb_hostile::{env, world};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "A_SECRET";

#[derive(Debug, Arbitrary)]
struct Input {
    display_name: String,
    variables: Vec<(String, String)>,
    secret: Vec<u8>,
    /// Whether the secret is a file of variables.
    many: bool,
}

fuzz_target!(|input: Input| {
    let mut tenant = world::tenant();
    tenant.spec.display_name = input.display_name.parse().ok();
    let variables = input.variables.iter();
    let variables: BTreeMap<EnvName, EnvValue> = variables
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        // Validation refuses it: there is a secret of that name.
        .filter(|(name, _): &(EnvName, EnvValue)| name.as_str() != SECRET)
        .collect();
    tenant.spec.env = variables.clone();
    let source = match input.many {
        true => "envFrom: [{age: a.age}]",
        false => "secretRefs: [{name: A_SECRET, file: /s, delivery: Environment}]",
    };
    let source = format!("{{application: a, version: v, {source}}}");
    let spec: TenantSpec = serde_yaml::from_str(&source).expect("a valid constant");
    tenant.spec.secret_refs = spec.secret_refs;
    tenant.spec.env_from = spec.env_from;
    let object = AnyObject::Tenant(Arc::new(tenant));
    // A secret that cannot be delivered is refused.
    let Ok(files) = world::files(&object, input.secret.as_slice()) else {
        return;
    };
    let (_, text) = files
        .iter()
        .find(|(path, _)| path.ends_with(".env"))
        .expect("the file");
    let read: Vec<(String, String)> = env::read(text).expect("as the operator writes it");
    let found: BTreeMap<&str, &str> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for (name, value) in &variables {
        let expected = found.get(name.as_str());
        // The operator's own come first, and validation refuses their names.
        let own = cb_core::manifest::check::reserved_env(name.as_str()).is_some();
        assert!(
            own || expected == Some(&value.as_str()),
            "{name}: {expected:?}"
        );
    }
    if !input.many {
        let secret = std::str::from_utf8(&input.secret).expect("it was delivered");
        let line = secret.strip_suffix('\n').unwrap_or(secret);
        let line = line.strip_suffix('\r').unwrap_or(line);
        assert_eq!(read.last(), Some(&(SECRET.to_owned(), line.to_owned())));
    }
});
