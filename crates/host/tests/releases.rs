//! Releases from git tags and builds, with real git and systemd.
//!
//! Each test runs itself as root of a throwaway host, see `support`.

#![allow(
    clippy::disallowed_methods,
    reason = "the host is thrown away after the test"
)]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cb_core::desired::Release;
use cb_host::releases::{Limits, MANIFEST, Manifest, ReleaseError, Releases, Workers};
use cb_host::systemd::Systemd;
use cb_host::users::Users;
use cb_testhost::Options;
use serde_json::json;
use support::{run_inside, sh};

/// Runs `work` inside a throwaway host.
fn on_host<F: Future<Output = ()>>(test: &str, work: impl FnOnce() -> F) {
    run_inside(test, || Options::new("drivers"), &[], work);
}

const STATE: &str = "/var/lib/cb";
const REPOSITORY: &str = "/srv/git/app";

/// The repository belongs to a user, as a person's does, with one tag `v1`.
const SET_UP: &str = "
useradd -m dev
install -d -o dev /srv/git/app
cat >/usr/local/bin/as-dev <<'END'
#!/bin/sh
exec setpriv --reuid dev --regid dev --clear-groups env HOME=/home/dev sh -euc \"cd /srv/git/app; $1\"
END
chmod 755 /usr/local/bin/as-dev
as-dev 'git init -q -b main; git config user.email dev@example.org; git config user.name dev
    mkdir bin; printf \"#!/bin/sh\\necho one\\n\" >bin/app; chmod 755 bin/app; ln -s app bin/link
    git add .; git commit -qm one; git tag -a -m one v1'
";

async fn releases(limits: Limits) -> Releases {
    let systemd = Systemd::spawn();
    systemd.ready(Duration::from_secs(20)).await.unwrap();
    std::fs::create_dir_all("/etc/sysusers.d").unwrap();
    let users = Arc::new(Users::spawn());
    let workers = Workers::new(STATE.as_ref(), "/etc/sysusers.d".as_ref(), systemd, users);
    Releases::with_limits(workers, limits)
}

fn release(version: &str, source: &serde_json::Value, build: &serde_json::Value) -> Release {
    Release {
        application: "app".parse().unwrap(),
        version: version.parse().unwrap(),
        source: serde_json::from_value(source.clone()).unwrap(),
        build: serde_json::from_value(build.clone()).unwrap(),
        path: Path::new(STATE).join("releases/app").join(version),
    }
}

fn tagged(version: &str) -> Release {
    let source = json!({"name": version, "git": {"repository": REPOSITORY}});
    release(version, &source, &json!(null))
}

fn built(version: &str, build: &serde_json::Value) -> Release {
    let source = json!({"name": version, "folder": {"path": "/srv/source"}});
    release(version, &source, build)
}

fn manifest(release: &Release) -> Manifest {
    serde_json::from_slice(&std::fs::read(release.path.join(MANIFEST)).unwrap()).unwrap()
}

/// Nothing of releases that failed is left, and no program of theirs runs.
fn assert_nothing_left(installed: &[&str]) {
    let names = sh("ls -A /var/lib/cb/releases/app");
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), installed);
    sh("! pgrep -u cb_git; ! pgrep -u cb_build");
}

#[test]
fn a_tag_becomes_a_release_and_a_moved_one_is_refused() {
    on_host(
        "a_tag_becomes_a_release_and_a_moved_one_is_refused",
        || async {
            sh(SET_UP);
            let releases = releases(Limits::default()).await;
            let first = tagged("v1");
            releases.install(&first).await.unwrap();
            let commit = sh("as-dev 'git rev-parse v1^{commit}'");
            assert_eq!(manifest(&first).commit, Some(commit.clone()));
            assert_eq!(sh("/var/lib/cb/releases/app/v1/bin/link"), "one");
            assert_eq!(
                sh("stat -c '%U %a' /var/lib/cb/releases/app/v1/bin/app"),
                "root 555"
            );
            assert_eq!(releases.differences(&first.path), []);

            // Another tag comes through the mirror that is there, even if it was
            // cut off at its worst.
            sh(
                "for mirror in /var/lib/cb/git/*/mirror; do touch $mirror/shallow.lock; done
            as-dev 'printf \"#!/bin/sh\\necho two\\n\" >bin/app; git commit -qam two; git tag v2'",
            );
            releases.install(&tagged("v2")).await.unwrap();
            assert_eq!(sh("/var/lib/cb/releases/app/v2/bin/app"), "two");
            sh("rm -rf /var/lib/cb/git/*/mirror/objects/*; as-dev 'git tag v3'");
            releases.install(&tagged("v3")).await.unwrap();

            sh("as-dev 'git tag v4; git tag -f v4 v1 2>/dev/null >&2'");
            let pinned = |commit: &str| {
                let git = json!({"repository": REPOSITORY, "tag": "v4", "commit": commit});
                release("v4", &json!({"name": "v4", "git": git}), &json!(null))
            };
            let meant = sh("as-dev 'git rev-parse v2^{commit}'");
            let error = releases
                .install(&pinned(&meant))
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(&meant) && error.contains(&commit), "{error}");
            assert_nothing_left(&["v1", "v2", "v3"]);
            releases.install(&pinned(&commit)).await.unwrap();

            for (tag, word) in [("v9", "v9"), ("nothing", "refs/tags/nothing")] {
                let error = releases
                    .install(&tagged(tag))
                    .await
                    .unwrap_err()
                    .to_string();
                assert!(
                    error.contains(word) && error.contains(REPOSITORY),
                    "{error}"
                );
            }
            sh("as-dev 'git tag tree v1^{tree}'");
            let error = releases
                .install(&tagged("tree"))
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("does not point to a commit"), "{error}");
            // Once it is there, it is installed without further words.
            sh("as-dev 'git tag v9'");
            releases.install(&tagged("v9")).await.unwrap();
            assert_nothing_left(&["v1", "v2", "v3", "v4", "v9"]);

            sh("mv /usr/bin/git /usr/bin/no-git");
            let error = releases.install(&tagged("v10")).await.unwrap_err();
            assert!(
                error.to_string().contains("install the package `git`"),
                "{error}"
            );
        },
    );
}

/// Laws 9 and 10: whatever is in a repository, it runs nothing and gets
/// nowhere.
#[test]
fn a_hostile_repository_runs_nothing_and_leaves_nothing() {
    on_host(
        "a_hostile_repository_runs_nothing_and_leaves_nothing",
        || async {
            sh(SET_UP);
            sh("install -d -m 777 /srv/traps
            as-dev 'trap=\"touch /srv/traps/sprung\"
                for hook in post-checkout reference-transaction post-update pre-receive; do
                    printf \"#!/bin/sh\\n$trap\\n\" >.git/hooks/$hook; chmod 755 .git/hooks/$hook; done
                git config core.fsmonitor \"$trap\"; git config uploadpack.packObjectsHook \"$trap\"
                git config core.sshCommand \"$trap\"; git config core.pager \"$trap\"
                git config filter.evil.smudge \"$trap\"; git config tar.tar.command \"$trap\"
                git config core.hooksPath .git/hooks; rm -f /srv/traps/sprung'");
            let evil = |tag: &str, script: &str| {
                sh(&format!(
                    "as-dev 'git -c core.fsmonitor=false -c core.hooksPath=/dev/null checkout -q --detach v1; \
                 git() {{ command git -c core.fsmonitor=false -c core.hooksPath=/dev/null \"$@\"; }}; \
                 {script}; git commit -qm x; git tag {tag}'; rm -f /srv/traps/sprung"
                ));
            };
            evil(
                "filter",
                "echo \"* filter=evil\" >.gitattributes; git add .",
            );
            evil(
                "submodule",
                "git update-index --add --cacheinfo 160000,1234567890123456789012345678901234567890,lib/sub",
            );
            evil("out", "ln -s ../../../etc bin/out; git add .");
            evil("absolute", "ln -s /etc/passwd shadow; git add .");
            evil("named", "echo {} >.cb-release.json; git add .");
            evil("huge", "head -c 3000000 /dev/zero >zeros; git add .");
            evil("huger", "head -c 9000000 /dev/zero >zeros; git add .");
            let releases = releases(Limits {
                bytes: 2_000_000,
                entries: 1000,
            })
            .await;
            releases.install(&tagged("filter")).await.unwrap();
            for (tag, words) in [
                ("submodule", ["lib/sub", "is a submodule"]),
                ("out", ["bin/out", "leads out of the release"]),
                ("absolute", ["shadow", "leads out of the release"]),
                ("named", [".cb-release.json", "the operator uses"]),
                ("huge", ["holds more than", "2000000 bytes"]),
                ("huger", ["cannot fetch", "File size limit"]),
            ] {
                let error = releases
                    .install(&tagged(tag))
                    .await
                    .unwrap_err()
                    .to_string();
                let named = words.iter().all(|word| error.contains(word));
                assert!(named && error.contains(REPOSITORY), "{tag}: {error}");
            }
            assert_nothing_left(&["filter"]);
            sh("! test -e /srv/traps/sprung");

            // Only the named kind of transport is used.
            let git = json!({"repository": "/srv/git/none"});
            let missing = release("v1", &json!({"name": "v1", "git": git}), &json!(null));
            let error = releases.install(&missing).await.unwrap_err();
            assert!(
                matches!(&error, ReleaseError::Source { path, .. } if path == Path::new("/srv/git/none"))
            );
            sh("chmod 700 /srv/git/app");
            let error = releases
                .install(&tagged("v1"))
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("git ended with"), "{error}");

            // A repository elsewhere is asked over the network, with TLS alone:
            // what answers here speaks none.
            let git = json!({"repository": "https://127.0.0.1:80/app.git"});
            let remote = release("v1", &json!({"name": "v1", "git": git}), &json!(null));
            let error = releases.install(&remote).await.unwrap_err().to_string();
            assert!(
                error.contains("TLS") && error.contains("127.0.0.1"),
                "{error}"
            );
            assert_nothing_left(&["filter"]);
        },
    );
}

#[test]
fn a_build_makes_the_release_once_and_nothing_else() {
    on_host(
        "a_build_makes_the_release_once_and_nothing_else",
        || async {
            sh("mkdir -p /srv/source; echo x >/srv/source/a; install -d -m 777 /srv/open");
            let releases = releases(Limits::default()).await;
            let good = built(
                "v1",
                &json!({"commands": [
                    ["sh", "-c", "id -un >who; pwd >where; readlink /proc/self/ns/net >net; echo built >>a"],
                    ["./b"],
                ]}),
            );
            std::fs::write(
                "/srv/source/b",
                "#!/bin/sh\nmkdir bin; cp b bin/b; date +%N >when\n",
            )
            .unwrap();
            sh("chmod 755 /srv/source/b");
            let both =
                futures::future::join(releases.install(&good), releases.install(&good)).await;
            both.0.unwrap();
            both.1.unwrap();
            let read = |name: &str| std::fs::read_to_string(good.path.join(name)).unwrap();
            assert_eq!(read("who"), "cb_build\n");
            assert_eq!(read("where"), format!("{}\n", good.path.display()));
            assert_eq!(read("a"), "x\nbuilt\n");
            let network = sh("readlink /proc/self/ns/net");
            assert_ne!(read("net").trim(), network);
            assert_eq!(sh("cat /srv/source/a"), "x");
            let meta = good.path.join("bin/b").metadata().unwrap();
            assert_eq!(
                (meta.mode() & 0o7777, meta.uid(), meta.gid()),
                (0o555, 0, 0)
            );
            assert_eq!(releases.differences(&good.path), []);
            let build = json!({"network": true, "commands": [
                ["sh", "-c", "readlink /proc/self/ns/net >net"],
            ]});
            let online = built("v2", &build);
            releases.install(&online).await.unwrap();
            let net = std::fs::read_to_string(online.path.join("net")).unwrap();
            assert_eq!(net.trim(), network);
            assert_nothing_left(&["v1", "v2"]);
        },
    );
}

/// Laws 4 and 10.
#[test]
fn a_build_that_fails_hangs_or_breaks_out_leaves_nothing() {
    on_host(
        "a_build_that_fails_hangs_or_breaks_out_leaves_nothing",
        || async {
            sh(
                "mkdir -p /srv/source; echo x >/srv/source/a; install -d -m 777 /srv/open
            install -d -m 777 /var/lib/cb/tenants",
            );
            let releases = releases(Limits {
                bytes: 5_000_000,
                entries: 1000,
            })
            .await;
            for (version, command, words) in [
                (
                    "fails",
                    "echo to stdout; echo too few arms >&2; exit 3",
                    ["exit code 3", "to stdout | too few arms"],
                ),
                (
                    "writes",
                    "echo x >/srv/open/x",
                    ["exit code", "Read-only file system"],
                ),
                (
                    "tenants",
                    "ls /var/lib/cb/tenants",
                    ["exit code", "No such file"],
                ),
                (
                    "network",
                    "exec 3<>/dev/tcp/192.0.2.1/80",
                    ["exit code", "unreachable"],
                ),
                (
                    "setuid",
                    "cp /bin/true t; chmod u+s t",
                    ["exit code", "Operation not permitted"],
                ),
                ("out", "ln -s /etc/passwd p", ["left `p`", "leads out"]),
                ("pipe", "mkfifo p", ["left `p`", "no file, folder or link"]),
                (
                    "large",
                    "head -c 4000000 /dev/zero >x; cp x y",
                    ["left more than", "5000000 bytes"],
                ),
                (
                    "larger",
                    "head -c 9000000 /dev/zero >x",
                    ["of app larger", "nothing was installed"],
                ),
                ("missing", "nonsuch", ["exit code 127", "nonsuch"]),
            ] {
                let build = json!({"commands": [["bash", "-c", command]]});
                let error = releases.install(&built(version, &build)).await.unwrap_err();
                let text = error.to_string();
                let named = words.iter().all(|word| text.contains(word));
                assert!(
                    named && matches!(error, ReleaseError::Build { .. }),
                    "{version}: {text}"
                );
            }
            // What it leaves running is ended before the release is taken over.
            let daemon =
                json!({"commands": [["bash", "-c", "setsid sleep 1000 & disown; trap '' TERM"]]});
            releases.install(&built("daemon", &daemon)).await.unwrap();
            let hangs = json!({"commands": [["sleep", "1000"]], "timeoutSeconds": 1});
            let error = releases.install(&built("hangs", &hangs)).await.unwrap_err();
            assert!(
                error.to_string().contains("took too long (1 seconds"),
                "{error}"
            );
            assert_nothing_left(&["daemon"]);
            sh("! test -e /srv/open/x");

            // It is not tried again at once, and at once when it is changed.
            std::fs::write("/srv/source/flag", "").unwrap();
            let again = json!({"commands": [["bash", "-c", "echo x >>a; exit 3"]]});
            let first = releases.install(&built("again", &again)).await.unwrap_err();
            let second = releases.install(&built("again", &again)).await.unwrap_err();
            assert_eq!(first.to_string(), second.to_string());
            let runs =
                sh("journalctl -o cat -u cb_build.service | grep -c 'builds app again' || true");
            assert!(runs.parse::<u32>().unwrap() <= 3, "{runs}");
            let changed = json!({"commands": [["bash", "-c", "echo fine >>a"]]});
            releases.install(&built("again", &changed)).await.unwrap();
        },
    );
}

/// Law 1: what is needed again while it is removed stays.
#[test]
fn a_release_is_removed_unless_it_is_needed_meanwhile() {
    on_host(
        "a_release_is_removed_unless_it_is_needed_meanwhile",
        || async {
            sh("mkdir -p /srv/source; echo x >/srv/source/a");
            let releases = releases(Limits::default()).await;
            let release = built("v1", &json!(null));
            releases.install(&release).await.unwrap();
            let asked = std::cell::Cell::new(0);
            let second_thoughts = || {
                asked.set(asked.get() + 1);
                // Nobody finds it while it is asked for the second time.
                assert_eq!(Releases::is_installed(&release.path), asked.get() == 1);
                asked.get() == 1
            };
            assert!(
                !releases
                    .remove(&release.path, second_thoughts)
                    .await
                    .unwrap()
            );
            assert!(Releases::is_installed(&release.path));
            assert!(!releases.remove(&release.path, || false).await.unwrap());
            assert_eq!(releases.differences(&release.path), []);
            assert!(releases.remove(&release.path, || true).await.unwrap());
            assert_eq!(sh("ls -A /var/lib/cb/releases/app"), "");
            releases.install(&release).await.unwrap();
            let found =
                cb_host::releases::installed(&PathBuf::from(STATE).join("releases")).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].id.to_string(), "app v1");
        },
    );
}
