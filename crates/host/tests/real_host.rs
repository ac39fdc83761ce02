//! The drivers on real systemd, D-Bus and nginx.
//!
//! Each test runs itself as root of a throwaway host, see `support`.

#![allow(
    clippy::disallowed_methods,
    reason = "the host is thrown away after the test"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cb_core::api::HostSpec;
use cb_core::desired::{Folder, FolderOwner, ManagedFile};
use cb_core::mark::Owner;
use cb_core::observed::{PathState, Scope};
use cb_core::plan::Action;
use cb_core::types::TenantName;
use cb_host::nginx::{Nginx, NginxPaths, SiteChange, SiteError};
use cb_host::systemd::{JOB_TIMEOUT, Systemd, SystemdError, UnitEvent};
use cb_host::{Host, SystemHost};
use cb_testhost::Options;
use support::{run_inside, sh};

/// Runs `work` inside a throwaway host.
fn on_host<F: Future<Output = ()>>(test: &str, work: impl FnOnce() -> F) {
    run_inside(test, || Options::new("drivers"), &[], work);
}

const SECONDS: Duration = Duration::from_secs(20);

async fn systemd() -> Systemd {
    let systemd = Systemd::spawn();
    systemd.ready(SECONDS).await.unwrap();
    systemd
}

fn unit(name: &str, exec: &str) {
    let path = format!("/etc/systemd/system/{name}");
    let text =
        format!("[Service]\nType=exec\nExecStart={exec}\n[Install]\nWantedBy=multi-user.target\n");
    std::fs::write(path, text).unwrap();
}

/// Waits for a change that makes the condition true.
async fn until(systemd: &Systemd, what: &str, mut is_true: impl FnMut() -> bool) {
    let mut events = systemd.subscribe();
    let wait = async {
        while !is_true() {
            let _ = events.recv().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(SECONDS, wait).await;
    assert!(waited.is_ok(), "never: {what}");
}

#[test]
fn four_hundred_units_start_at_once_and_the_cache_knows_each_outcome() {
    on_host(
        "four_hundred_units_start_at_once_and_the_cache_knows_each_outcome",
        || async {
            let systemd = systemd().await;
            let names: Vec<String> = (0..400).map(|n| format!("t-{n}.service")).collect();
            for name in &names {
                unit(name, "/usr/bin/sleep infinity");
            }
            let begun = Instant::now();
            systemd.daemon_reload().await.unwrap();
            systemd.enable(&names).await.unwrap();
            println!("reload and enable: {:?}", begun.elapsed());
            let begun = Instant::now();
            let all = names.iter().map(|name| systemd.start(name, JOB_TIMEOUT));
            for result in futures::future::join_all(all).await {
                assert!(result.unwrap().is_done());
            }
            println!("start: {:?}", begun.elapsed());
            // No waiting here: the end of the job is told after the state.
            for name in &names {
                let state = systemd
                    .unit(name)
                    .unwrap_or_else(|| panic!("{name} is unknown"));
                assert!(state.is_active(), "{name}: {state:?}");
                assert_eq!(
                    state.invocation_id.as_ref().map(String::len),
                    Some(32),
                    "{name}"
                );
            }
            let shown = sh("systemctl show -P InvocationID t-7.service");
            assert_eq!(
                systemd.unit("t-7.service").unwrap().invocation_id,
                Some(shown.clone())
            );
            // One that comes later learns the same from one listing.
            let other = self::systemd().await;
            assert_eq!(other.unit("t-7.service"), systemd.unit("t-7.service"));
            let all = names.iter().map(|name| systemd.stop(name, JOB_TIMEOUT));
            for result in futures::future::join_all(all).await {
                assert!(result.unwrap().is_done());
            }
            for name in &names {
                let active = systemd.unit(name).is_some_and(|state| state.is_active());
                assert!(!active, "{name}");
            }
            systemd.disable(&names).await.unwrap();
            let wants = Path::new("/etc/systemd/system/multi-user.target.wants");
            assert!(!wants.join("t-7.service").is_symlink());
        },
    );
}

#[test]
fn a_crash_is_told_and_a_failed_start_says_so() {
    on_host("a_crash_is_told_and_a_failed_start_says_so", || async {
        let systemd = systemd().await;
        unit("crash.service", "/usr/bin/sleep infinity");
        unit("missing.service", "/nonexistent/program");
        systemd.daemon_reload().await.unwrap();
        assert!(
            systemd
                .start("crash.service", JOB_TIMEOUT)
                .await
                .unwrap()
                .is_done()
        );
        sh("kill -9 $(systemctl show -P MainPID crash.service)");
        let failed = || {
            systemd
                .unit("crash.service")
                .is_some_and(|state| state.is_failed())
        };
        until(&systemd, "the crash", failed).await;
        systemd.reset_failed("crash.service").await.unwrap();
        until(&systemd, "the reset", || !failed()).await;
        let result = systemd.start("missing.service", JOB_TIMEOUT).await.unwrap();
        assert_eq!(result.to_string(), "failed");
        assert!(systemd.unit("missing.service").unwrap().is_failed());
        let error = systemd
            .start("nobody.service", JOB_TIMEOUT)
            .await
            .unwrap_err();
        assert!(error.is_no_such_unit() && !error.is_transient(), "{error}");
        assert!(
            systemd
                .stop("nobody.service", JOB_TIMEOUT)
                .await
                .unwrap()
                .is_done()
        );
    });
}

/// Law 1: what happens while there is no D-Bus is known afterwards.
#[test]
fn a_lost_connection_comes_back_with_a_new_listing() {
    on_host(
        "a_lost_connection_comes_back_with_a_new_listing",
        || async {
            let systemd = systemd().await;
            unit("a.service", "/usr/bin/sleep infinity");
            systemd.daemon_reload().await.unwrap();
            systemd.start("a.service", JOB_TIMEOUT).await.unwrap();
            let mut events = systemd.subscribe();
            sh("systemctl stop dbus.socket dbus.service");
            let outage = async {
                while systemd.is_fresh() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SECONDS, outage).await.unwrap();
            let error = systemd.start("a.service", JOB_TIMEOUT).await.unwrap_err();
            assert!(matches!(error, SystemdError::Disconnected) && error.is_transient());
            sh(
                "kill -9 $(systemctl show -P MainPID a.service); systemctl start dbus.socket dbus.service",
            );
            let relisted = async { while events.recv().await.unwrap() != UnitEvent::Relisted {} };
            tokio::time::timeout(SECONDS, relisted).await.unwrap();
            assert!(systemd.unit("a.service").unwrap().is_failed());
            systemd.reset_failed("a.service").await.unwrap();
            let result = systemd.start("a.service", JOB_TIMEOUT).await.unwrap();
            assert!(result.is_done());
            // A systemd that is upgraded in place keeps its units and may
            // forget who listens.
            sh("systemctl daemon-reexec");
            let relisted = async { while events.recv().await.unwrap() != UnitEvent::Relisted {} };
            tokio::time::timeout(SECONDS, relisted).await.unwrap();
            sh("systemctl stop a.service");
            let stopped = || {
                let state = systemd.unit("a.service");
                !state.is_some_and(|state| state.is_active())
            };
            until(&systemd, "the stop", stopped).await;
        },
    );
}

fn site(name: &str, body: &str) -> SiteChange {
    let mark = Owner::Tenant(name.to_owned()).header();
    SiteChange {
        name: format!("cb-{name}.conf"),
        content: Some(
            format!("{mark}server {{ listen 80; server_name {name}.test; {body} }}\n").into(),
        ),
    }
}

fn answer(name: &str) -> String {
    sh(&format!("curl -s -H 'Host: {name}.test' http://127.0.0.1/"))
}

/// An old worker may answer until the reload is through.
async fn answers(name: &str, expected: &str) {
    let wait = async {
        while answer(name) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(SECONDS, wait).await;
    assert!(
        waited.is_ok(),
        "{name} answers {:?}, not {expected:?}",
        answer(name)
    );
}

/// Law 4.
#[test]
fn nginx_serves_what_it_accepts_and_a_bad_site_hurts_nobody_else() {
    on_host(
        "nginx_serves_what_it_accepts_and_a_bad_site_hurts_nobody_else",
        || async {
            let systemd = systemd().await;
            let paths = NginxPaths {
                config: "/etc/nginx/nginx.conf".into(),
                sites: "/etc/nginx/conf.d".into(),
                unit: "nginx.service".to_owned(),
                state: "/var/lib/cb".into(),
            };
            let nginx = Nginx::spawn(paths, systemd.clone());
            nginx.submit(site("a", "return 200 a1;")).await.unwrap();
            answers("a", "a1").await;
            // A bad change of a, and a new b and c, together.
            let (a, b, c) = tokio::join!(
                nginx.submit(site("a", "nonsense;")),
                nginx.submit(site("b", "return 200 b1;")),
                nginx.submit(site("c", "return 200 c1;")),
            );
            let (message, _) = (a.unwrap_err().to_string(), (b.unwrap(), c.unwrap()));
            assert!(
                message.contains("unknown directive") && message.contains("cb-a.conf:3"),
                "{message}"
            );
            answers("a", "a1").await;
            answers("b", "b1").await;
            answers("c", "c1").await;
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
            assert!(!mounts.contains("/etc/nginx/conf.d"), "{mounts}");
            // Rejected again, it costs no reload.
            let reloads = || sh("journalctl -u nginx -o cat | grep -c '^Reloaded' || true");
            let before = reloads();
            nginx.submit(site("a", "nonsense;")).await.unwrap_err();
            assert_eq!(reloads(), before);
            let (counted, tests) = nginx.counts();
            sh("journalctl --sync");
            assert_eq!((counted.ok.to_string(), counted.failed), (reloads(), 0));
            assert!(tests.accepted >= 2 && tests.rejected >= 2, "{tests:?}");
            // A live site that broke is set aside for the others.
            let broken = site("b", "nonsense;").content.unwrap();
            std::fs::write("/etc/nginx/conf.d/cb-b.conf", broken).unwrap();
            nginx.submit(site("c", "return 200 c2;")).await.unwrap();
            answers("c", "c2").await;
            assert!(!Path::new("/etc/nginx/conf.d/cb-b.conf").exists());
            assert!(Path::new("/var/lib/cb/quarantine/cb-b.conf").exists());
            // Broken without us: nothing is changed.
            std::fs::write("/etc/nginx/conf.d/theirs.conf", "nonsense;\n").unwrap();
            let error = nginx.submit(site("c", "return 200 c3;")).await.unwrap_err();
            let named = matches!(&error, SiteError::BrokenBefore { message } if message.contains("theirs.conf"));
            assert!(named, "{error}");
            assert_eq!(answer("c"), "c2");
            std::fs::remove_file("/etc/nginx/conf.d/theirs.conf").unwrap();
            // A site that is not ours.
            std::fs::write("/etc/nginx/conf.d/cb-d.conf", "# mine\n").unwrap();
            let error = nginx.submit(site("d", "return 200 d;")).await.unwrap_err();
            assert!(matches!(error, SiteError::Conflict { .. }), "{error}");
            // Not running: written for the next start.
            sh("systemctl stop nginx");
            let error = nginx.submit(site("c", "return 200 c4;")).await.unwrap_err();
            assert!(matches!(error, SiteError::NotRunning { .. }), "{error}");
            sh("systemctl start nginx");
            answers("c", "c4").await;
            let content = None;
            let name = "cb-c.conf".to_owned();
            nginx.submit(SiteChange { name, content }).await.unwrap();
            assert!(!Path::new("/etc/nginx/conf.d/cb-c.conf").exists());
            assert!(!Path::new("/var/lib/cb/pending/nginx-reload").exists());
        },
    );
}

#[test]
fn two_hundred_sites_cost_a_handful_of_reloads() {
    on_host("two_hundred_sites_cost_a_handful_of_reloads", || async {
        let systemd = systemd().await;
        let paths = NginxPaths {
            config: "/etc/nginx/nginx.conf".into(),
            sites: "/etc/nginx/conf.d".into(),
            unit: "nginx.service".to_owned(),
            state: "/var/lib/cb".into(),
        };
        let nginx = Nginx::spawn(paths, systemd);
        let begun = Instant::now();
        let all = (0..200).map(|n| {
            let name = format!("t{n}");
            let body = if n % 50 == 7 {
                "nonsense;"
            } else {
                "return 200 ok;"
            };
            nginx.submit(site(&name, body))
        });
        let results = futures::future::join_all(all).await;
        println!("200 sites, 4 of them bad: {:?}", begun.elapsed());
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 4);
        answers("t199", "ok").await;
        let reloads = sh("journalctl -u nginx -o cat | grep -c '^Reloaded' || true");
        assert!(reloads.parse::<u32>().unwrap() <= 4, "{reloads} reloads");
    });
}

fn managed(path: &str, text: &str) -> ManagedFile {
    let mark = Owner::Tenant("ky04".to_owned()).header();
    ManagedFile {
        path: PathBuf::from(path),
        content: format!("{mark}{text}"),
        mode: 0o644,
    }
}

#[test]
fn a_tenants_things_are_made_seen_and_taken_away() {
    on_host("a_tenants_things_are_made_seen_and_taken_away", || async {
        let host = SystemHost::start(&HostSpec::default()).await.unwrap();
        let tenant: TenantName = "ky04".parse().unwrap();
        let user = "cb-ky04".to_owned();
        let scope = Scope {
            tenant: tenant.clone(),
            user: user.clone(),
            paths: ["/var/lib/cb/tenants/ky04/db", "/etc/cb/tenants/ky04/.env"]
                .map(PathBuf::from)
                .into(),
            units: ["ky04-api.service".to_owned()].into(),
            release: None,
            secrets: [].into(),
            manifest_folder: "".into(),
            credentials: "/etc/cb/tenants/ky04/credentials".into(),
            certificate: None,
            i360: None,
            adopt: BTreeSet::new(),
        };
        let before = host.observe(&scope).await.unwrap();
        assert!(before.user.is_none() && before.paths.is_empty() && before.units.is_empty());
        let folder = |path: &str, owner| Action::EnsureFolder {
            folder: Folder {
                path: path.into(),
                mode: 0o700,
                owner,
            },
            user: user.clone(),
        };
        let unit = managed(
            "/etc/systemd/system/ky04-api.service",
            "[Service]\nType=exec\nUser=cb-ky04\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
        );
        let name = "ky04-api.service".to_owned();
        let start = Action::Start {
            unit: name.clone(),
            service: "api".parse().unwrap(),
            revision: String::new(),
            reset: true,
        };
        let steps = [
            Action::EnsureUser {
                user: user.clone(),
                file: managed(
                    "/etc/sysusers.d/cb-ky04.conf",
                    "u cb-ky04 - \"KY 04\" /var/lib/cb/tenants/ky04\n",
                ),
            },
            folder("/etc/cb/tenants/ky04", FolderOwner::Root),
            folder("/var/lib/cb/tenants/ky04", FolderOwner::Root),
            folder("/var/lib/cb/tenants/ky04/db", FolderOwner::Tenant),
            Action::WriteFile(managed("/etc/cb/tenants/ky04/.env", "A=1\n")),
            Action::WriteUnit(unit),
            Action::ReloadUnits,
            Action::Enable(vec![name.clone()]),
            start.clone(),
        ];
        // Done twice it is done once.
        let mut ids = BTreeMap::new();
        for round in 0..2 {
            for step in &steps {
                let done = host.execute(&tenant, step).await.unwrap();
                ids.extend(done.invocation_id.map(|id| (round, id)));
                if let Action::EnsureUser { .. } = step {
                    assert_eq!(done.uid.unwrap().to_string(), sh("id -u cb-ky04"));
                }
            }
        }
        assert_eq!(ids[&0], ids[&1]);
        assert!(!Path::new("/var/lib/cb/pending/daemon-reload").exists());
        let seen = host.observe(&scope).await.unwrap();
        let made = seen.user.unwrap();
        let db = PathState::Folder {
            mode: 0o700,
            uid: made.uid,
            gid: made.gid,
        };
        assert_eq!(seen.paths[Path::new("/var/lib/cb/tenants/ky04/db")], db);
        assert_eq!(seen.units[&name].invocation_id.as_ref(), Some(&ids[&0]));
        assert!(seen.enabled.contains(&name) && seen.owned_units.contains(&name));
        // Law 1: a look at a converged host takes no time.
        let begun = Instant::now();
        for _ in 0..1000 {
            assert_eq!(host.observe(&scope).await.unwrap().units, seen.units);
        }
        let took = begun.elapsed();
        println!("1000 looks: {took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        for step in [
            Action::Stop(name.clone()),
            Action::Disable(vec![name.clone()]),
            Action::RemoveUnit("/etc/systemd/system/ky04-api.service".into()),
            Action::ReloadUnits,
            Action::ArchiveData(tenant.clone()),
            Action::RemoveUser(user.clone()),
            Action::RemoveFile("/etc/sysusers.d/cb-ky04.conf".into()),
        ] {
            host.execute(&tenant, &step).await.unwrap();
            host.execute(&tenant, &step).await.unwrap();
        }
        let after = host.observe(&scope).await.unwrap();
        let units: Vec<_> = after
            .units
            .values()
            .filter(|unit| unit.is_active())
            .collect();
        assert!(
            after.user.is_none() && after.paths.is_empty() && units.is_empty(),
            "{after:?}"
        );
        assert_eq!(sh("cd /var/lib/cb/backups/ky04/*/ && ls -A"), ".env\ndata");
    });
}

/// Law 5: what a killed operator owed is done at the next start.
#[test]
fn reloads_that_were_owed_are_done_at_the_start() {
    on_host("reloads_that_were_owed_are_done_at_the_start", || async {
        sh(
            "mkdir -p /var/lib/cb/pending /var/lib/cb/releases/x/.cb-tmp-1-1
            touch /var/lib/cb/pending/daemon-reload /var/lib/cb/pending/nginx-reload
            echo half > /etc/nginx/conf.d/.cb-tmp-1-1",
        );
        unit("owed.service", "/usr/bin/sleep infinity");
        sh("systemctl daemon-reload; echo Description=new >> /etc/systemd/system/owed.service");
        let host = SystemHost::start(&HostSpec::default()).await.unwrap();
        assert_eq!(
            sh("ls -A /var/lib/cb/pending /etc/nginx/conf.d"),
            "/etc/nginx/conf.d:\n\n/var/lib/cb/pending:"
        );
        assert_eq!(sh("ls -A /var/lib/cb/releases/x"), "");
        assert_eq!(sh("systemctl show -P NeedDaemonReload owed.service"), "no");
        let reloaded = sh("journalctl -u nginx -o cat | grep -c '^Reloaded' || true");
        assert_eq!(reloaded, "1");
        drop(host);
    });
}
