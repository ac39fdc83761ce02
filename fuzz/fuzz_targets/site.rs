//! nginx is told the domains and routes that went in, and nothing else.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use cb_core::api::Route;
use cb_core::manifest::AnyObject;
use cb_core::types::{DomainName, UrlPath};
use cb_hostile::{site, world};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    domains: Vec<String>,
    routes: Vec<String>,
}

fuzz_target!(|input: Input| {
    let domains: Vec<DomainName> = input
        .domains
        .iter()
        .filter_map(|d| d.parse().ok())
        .collect();
    if !domains.is_empty() {
        let mut tenant = world::tenant();
        tenant.spec.domains = domains.clone();
        let directives = directives(AnyObject::Tenant(Arc::new(tenant)));
        let names: Vec<_> = directives
            .iter()
            .filter(|d| d.words[0] == "server_name")
            .collect();
        assert!(!names.is_empty());
        for name in names {
            assert!(
                name.words[1..]
                    .iter()
                    .eq(domains.iter().map(|d| d.as_str())),
                "{name:?}"
            );
        }
    }
    let routes: Vec<UrlPath> = input.routes.iter().filter_map(|r| r.parse().ok()).collect();
    let mut application = world::application();
    let route = application.spec.routes[0].clone();
    application.spec.routes = routes
        .iter()
        .map(|path| Route {
            path: path.clone(),
            ..route.clone()
        })
        .collect();
    let directives = directives(AnyObject::Application(Arc::new(application)));
    let found = |path: &UrlPath| {
        let is = |d: &&site::Directive| d.words == ["location", path.as_str()];
        directives.iter().any(|d| is(&d))
    };
    assert!(routes.iter().all(found), "{directives:?}");
});

fn directives(object: AnyObject) -> Vec<site::Directive> {
    let files = world::files(&object, "").expect("the objects fit together");
    let is_site = |path: &std::path::Path| path.starts_with("/etc/nginx");
    let (_, text) = files
        .iter()
        .find(|(path, _)| is_site(path))
        .expect("the site");
    site::read(text).expect(text)
}
