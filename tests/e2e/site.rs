//! What nginx answers for a tenant beside its routes.

use anyhow::Result;

use crate::world::{TINY, World};

/// The small application with these routes.
fn with_routes(routes: &str) -> String {
    let (head, _) = TINY.split_once("  routes:\n").unwrap_or((TINY, ""));
    format!("{head}  routes: {routes}\n")
}

impl World {
    /// The status and body that nginx answers a path of ky04's domain with.
    fn answer(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1{path}");
        let answer = self
            .host
            .curl(&["--path-as-is", "-H", "Host: ky04.example.org", &url])?;
        Ok(format!("{} {}", answer.status, answer.body.trim()))
    }
}

/// What no route is for is not found: nginx never serves a folder of its own on
/// a tenant's domain. Law 12: a route that it would never take is refused.
#[test]
fn what_no_route_is_for_is_not_found() -> Result<()> {
    let world = World::installed("routes")?;
    // The folders that nginx serves when nothing is said.
    world.host.sh(
        "for folder in /usr/share/nginx/html /var/www/html; do mkdir -p $folder/api\n\
         echo the folder of nginx | tee $folder/index.html $folder/page.html >$folder/api/x; done",
    )?;
    let folder = "the folder of nginx";
    let elsewhere = ["/", "/index.html", "/page.html", "/apix", "/x/../page.html"];
    let api_alone = "[{path: /api/, service: api}]";
    world.put("tiny.yaml", &with_routes(api_alone))?;
    world.put_tiny("ky04", "")?;
    world.start()?;
    for (routes, served) in [
        (api_alone, true),
        ("[]", false),
        ("[{path: /, service: frontend}]", true),
    ] {
        world.put("tiny.yaml", &with_routes(routes))?;
        let all = routes.contains("path: /,");
        world.waits(&format!("the routes are {routes}"), || {
            let api = world.answer("/api/x")?;
            let page = world.answer("/page.html")?;
            Ok(api.starts_with(if served { "200 ky04 v1" } else { "404" })
                && page.starts_with(if all { "200 ky04 v1" } else { "404" }))
        })?;
        world.wait_ready("ky04")?;
        for path in elsewhere {
            let answer = world.answer(path)?;
            assert_eq!(
                !answer.starts_with("404"),
                all,
                "{routes}, {path}: {answer}"
            );
            assert!(!answer.contains(folder), "{routes}, {path}: {answer}");
        }
    }

    for (routes, words) in [
        (
            "[{path: /, service: api}, {path: /, service: frontend}]",
            "spec.routes[1].path: `/` is already in spec.routes[0].path",
        ),
        (
            "[{path: /a/./b, service: api}]",
            "spec.routes[0].path: `/a/./b` is not a URL path",
        ),
        (
            "[{path: /.well-known/acme-challenge/x, service: api}]",
            "is never sent to a service: authorities ask there",
        ),
    ] {
        let file = "/root/routes.yaml";
        world
            .host
            .push(with_routes(routes).as_bytes(), file, 0o644)?;
        let told = world.host.exec(&["cbctl", "validate", file])?;
        let text = format!("{}{}", told.stdout, told.stderr);
        assert_ne!(told.code, Some(0), "{text}");
        assert!(text.contains(words), "{text}");
    }
    Ok(())
}
