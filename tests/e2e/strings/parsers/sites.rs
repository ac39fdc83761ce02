//! Sites, as nginx serves them: each alone, in a network of its own.

use anyhow::{Context as _, Result};
use cb_core::api::Application;
use cb_core::layout::Layout;
use cb_hostile::world::Objects;
use cb_testhost::TestHost;

use super::{FOLDER, Shelf};

/// nginx with one site, and what is behind and beside it: services that tell
/// their port and what they were asked for, and a server for all other domains.
const CONFIG: &str = "\
error_log /run/sites/log;
pid /run/sites/pid;
events {}
http {
    access_log off;
    server { listen 80 default_server; return 200 \"nobody\"; }
    server { listen 127.0.0.1:32300; return 200 \"32300 $request_uri\"; }
    server { listen 127.0.0.1:32301; return 200 \"32301 $request_uri\"; }
    include /srv/hostile/sites/$1;
}
";

/// Asks each domain for each path. Of a challenge, nginx's log tells which file
/// it looked for.
const SCRIPT: &str = r#"
ip link set lo up
mkdir -p /run/sites
nginx -q -c /run/site.conf -g 'user root;'
shift
while [ $# -gt 0 ]; do
    code=$(curl -s -g --path-as-is -o /run/sites/body -w '%{http_code}' -H "Host: $1" "http://127.0.0.1$2")
    [ $code = 200 ] || : >/run/sites/body
    echo "$code $(cat /run/sites/body)"
    shift 2
done
sed -n 's/.*\[error\].* open() "\(.*\/challenges\/.*\)" failed.*/log \1/p' /run/sites/log
nginx -q -c /run/site.conf -s quit
rm -r /run/sites
"#;

pub(super) fn faults(host: &TestHost, shelf: &Shelf) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (number, objects) in shelf.objects.iter().enumerate() {
        let config = CONFIG.replace("$1", &number.to_string());
        host.push(config.as_bytes(), "/run/site.conf", 0o644)?;
        let asked = asked(objects);
        let mut command = vec!["unshare", "--net", "sh", "-euc", SCRIPT, "sh", "-"];
        for (domain, path, _) in &asked {
            command.extend([domain.as_str(), path.as_str()]);
        }
        let answers = host.exec(&command)?;
        let mut wanted: String = asked
            .iter()
            .map(|(_, _, answer)| format!("{answer}\n"))
            .collect();
        let (tenant, _, host_of) = objects;
        if host_of.spec.certificates.acme.is_some() {
            for _ in &tenant.spec.domains {
                let file = Layout::new(&host_of.spec).challenges().join("zq");
                wanted += &format!("log {}\n", file.display());
            }
        }
        if answers.code != Some(0) || answers.stdout != wanted {
            let case = shelf.cases.iter().find(|case| case.number == number);
            let what = format!("{answers:?} instead of {wanted:?} of {asked:?}");
            faults.push(case.map_or_else(|| what.clone(), |case| case.fault(&what)));
        }
    }
    let dump = "mkdir /run/sites; nginx -T -q -c /run/site.conf";
    let dump = host.sh(dump).context("the whole configuration")?;
    let last = shelf.contents.last().context("no site")?;
    if !dump.contains(last.as_str()) {
        faults.push(format!("{FOLDER}/sites: another file than {last}"));
    }
    Ok(faults)
}

/// Domain, path, and what is to be answered.
type Asked = (String, String, String);

/// What a tenant's domains are asked for, by what the objects say.
fn asked((tenant, application, host): &Objects) -> Vec<Asked> {
    let elsewhere = "/zq-elsewhere";
    let challenge = "/.well-known/acme-challenge/zq";
    let routes = &application.spec.routes;
    let mut out = Vec::new();
    let mut ask = |domain: &str, path: &str, answer: String| {
        out.push((domain.to_owned(), path.to_owned(), answer));
    };
    for domain in &tenant.spec.domains {
        let paths = routes.iter().map(|route| route.path.as_str());
        for path in paths.clone().chain([elsewhere]) {
            ask(domain.as_str(), path, answer(application, path));
        }
        for path in paths {
            ask("nobody.invalid", path, "200 nobody".to_owned());
        }
        if host.spec.certificates.acme.is_some() {
            ask(domain.as_str(), challenge, "404 ".to_owned());
        }
    }
    out
}

/// The answer of the service whose route is the longest with this path.
fn answer(application: &Application, path: &str) -> String {
    let routes = application.spec.routes.iter();
    let routes = routes.filter(|route| path.starts_with(route.path.as_str()));
    let Some(route) = routes.max_by_key(|route| route.path.as_str().len()) else {
        return "404 ".to_owned();
    };
    let mut services = (32300..).zip(&application.spec.services);
    let service = services.find(|(_, service)| service.name == route.service);
    let port = service.map_or(0, |(port, _)| port);
    format!("200 {port} {path}")
}
