//! Programs in transient units.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cb_host::systemd::{End, Systemd, Transient};
use tokio::sync::Notify;

use crate::world::{assert_nothing_left, on_host, sh};

const SECONDS: Duration = Duration::from_secs(20);
const UNIT: &str = "cb_test_a.service";

fn shell(script: &str, timeout: Duration) -> Transient {
    let shell = Transient::new(UNIT, Path::new("/bin/sh"), timeout);
    shell.arg("-c").arg(script)
}

async fn systemd() -> Systemd {
    let systemd = Systemd::spawn();
    systemd.ready(SECONDS).await.unwrap();
    systemd
}

#[test]
fn the_end_and_the_output_of_a_program_are_told() {
    on_host(
        "units::the_end_and_the_output_of_a_program_are_told",
        || async {
            let systemd = systemd().await;
            let run = async |script: &str| systemd.run(&shell(script, SECONDS)).await.unwrap();
            let outcome = run("echo out; echo one >&2; echo two >&2").await;
            assert_eq!(outcome.end, End::Exited(0));
            assert_eq!(
                (outcome.stdout, outcome.log.join(" ")),
                (b"out\n".to_vec(), "one two".to_owned())
            );
            let log = sh(&format!(
                "journalctl _SYSTEMD_INVOCATION_ID={0} + INVOCATION_ID={0} -o cat",
                outcome.invocation_id
            ));
            assert!(log.contains(UNIT), "{log}");
            assert_eq!(run("exit 7").await.end, End::Exited(7));
            assert_eq!(run("kill -9 $$").await.end, End::Killed(9));
            let much = run("yes | head -c 30000000; yes | head -c 30000000 >&2").await;
            assert_eq!(much.end, End::Exited(0));
            assert_eq!((much.stdout.len(), much.log.len()), (1 << 20, 20));
            // What a program leaves behind goes with it.
            let outcome = run("setsid sleep 1000 & echo done").await;
            assert_eq!(outcome.stdout, b"done\n");
            assert_eq!(sh("pgrep -c sleep || true"), "0");
            let timed = systemd
                .run(&shell("sleep 1000", Duration::from_secs(1)))
                .await;
            assert_eq!(timed.unwrap().end, End::TimedOut);
            let missing = Transient::new(UNIT, Path::new("/nonexistent"), SECONDS);
            let end = systemd.run(&missing).await.map(|outcome| outcome.end);
            assert!(matches!(end, Ok(End::Exited(203))), "{end:?}");
            let nobody = shell("true", SECONDS).user("nobody-here");
            let end = systemd.run(&nobody).await.map(|outcome| outcome.end);
            assert!(matches!(end, Ok(End::Exited(217))), "{end:?}");
            assert_nothing_left();
        },
    );
}

/// No job is doubled, and none stays that nobody waits for.
#[test]
fn a_unit_that_was_left_running_is_ended_first() {
    on_host(
        "units::a_unit_that_was_left_running_is_ended_first",
        || async {
            let systemd = systemd().await;
            // As a killed operator leaves it.
            sh(&format!(
                "systemd-run --unit={UNIT} --collect -p Type=exec sleep 1000"
            ));
            let outcome = systemd
                .run(&shell("pgrep -c sleep", SECONDS))
                .await
                .unwrap();
            assert_eq!(outcome.stdout, b"0\n");
            // As a call that is dropped leaves it.
            let begun = Arc::new(Notify::new());
            let told = Arc::clone(&begun);
            let slow = shell("echo begun >&2; sleep 1000", SECONDS);
            let slow = slow.on_line(Arc::new(move |_| told.notify_one()));
            tokio::select! {
                outcome = systemd.run(&slow) => panic!("{outcome:?}"),
                () = begun.notified() => {}
            }
            let outcome = systemd
                .run(&shell("pgrep -c sleep", SECONDS))
                .await
                .unwrap();
            assert_eq!(outcome.stdout, b"0\n");
            // Nobody runs another: it is ended by itself.
            let told = Arc::clone(&begun);
            let slow = shell("echo begun >&2; sleep 1000", SECONDS);
            let slow = slow.on_line(Arc::new(move |_| told.notify_one()));
            let mut events = systemd.subscribe();
            tokio::select! {
                outcome = systemd.run(&slow) => panic!("{outcome:?}"),
                () = begun.notified() => {}
            }
            // From here on the cache knows it.
            systemd.relist().await.unwrap();
            let gone = async {
                while systemd.unit(UNIT).is_some() {
                    let _ = events.recv().await;
                }
            };
            tokio::time::timeout(SECONDS, gone).await.unwrap();
            assert_nothing_left();
        },
    );
}

/// Two of different names are at it together.
#[test]
fn many_run_at_once() {
    on_host("units::many_run_at_once", || async {
        let systemd = systemd().await;
        let seen = Mutex::new(Vec::new());
        let all = (0..20).map(|n| {
            let (systemd, seen) = (&systemd, &seen);
            async move {
                let name = format!("cb_test_{n}.service");
                let unit = Transient::new(&name, Path::new("/bin/sh"), SECONDS);
                let unit = unit.arg("-c").arg(format!("echo {n}"));
                let outcome = systemd.run(&unit).await.unwrap();
                let text = String::from_utf8(outcome.stdout).unwrap();
                assert_eq!(text.trim(), n.to_string());
                seen.lock().unwrap().push(n);
            }
        });
        futures::future::join_all(all).await;
        assert_eq!(seen.lock().unwrap().len(), 20);
        assert_nothing_left();
    });
}
