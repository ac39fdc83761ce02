//! A test host comes up, can be used, and leaves nothing behind.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cb_testhost::{Options, TestHost, cache};

/// Set for the process of [`a_killed_test_leaves_no_host`] that is killed.
const VICTIM: &str = "CB_TESTHOST_VICTIM";

fn cgroup_exists(name: &str) -> bool {
    ["", "systemd", "unified"].iter().any(|hierarchy| {
        let folder = Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
        folder.exists()
    })
}

fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn commands_files_and_errors() {
    let host = TestHost::boot(Options::new("commands").tmpfs("/small", 65536)).unwrap();
    assert_eq!(host.exec(&["sh", "-c", "exit 7"]).unwrap().code, Some(7));
    host.push(b"a\0b", "/etc/deep/folder/file", 0o640).unwrap();
    assert_eq!(host.read("/etc/deep/folder/file").unwrap(), b"a\0b");
    let mode = host.sh("stat -c %a /etc/deep/folder/file").unwrap();
    assert_eq!(mode, "640\n");
    let full = host.sh("head -c 100000 /dev/zero >/small/x").unwrap_err();
    assert!(full.to_string().contains("No space left"), "{full}");
    assert!(cgroup_exists(host.name()));

    let error = host.wait_until("pigs that fly", Duration::ZERO, || Err::<(), _>("none yet"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("last seen: none yet"), "{error}");
    assert!(error.contains("systemd[1]"), "{error}");

    let mut running = host
        .spawn(&["sh", "-c", "echo here; exec sleep 1000"])
        .unwrap();
    host.wait_until("its output", Duration::from_secs(10), || {
        let log = running.log();
        if log == "here\n" { Ok(()) } else { Err(log) }
    })
    .unwrap();
    let pid = running.pid().unwrap();
    assert!(running.wait(Duration::ZERO).is_none());
    drop(running);
    assert!(!process_exists(pid));

    let (name, init) = (host.name().to_owned(), host.init_pid());
    host.kill();
    assert!(!process_exists(init));
    assert!(!cgroup_exists(&name));
    assert!(!cache::dir().unwrap().join("hosts").join(name).exists());
}

#[test]
fn a_kept_disk_survives_a_power_cut_and_nothing_else_does() {
    let mut host = TestHost::boot(Options::new("power").keep_disk()).unwrap();
    host.sh("echo kept >/root/file; echo lost >/run/file; systemd-run -q sleep 1000")
        .unwrap();
    let before = host.init_pid();
    host.power_cycle().unwrap();
    assert!(!process_exists(before));
    assert_eq!(host.read("/root/file").unwrap(), b"kept\n");
    assert!(host.read("/run/file").is_err());
    assert_eq!(host.exec(&["pgrep", "sleep"]).unwrap().code, Some(1));
}

#[test]
fn a_path_that_nspawn_would_misread_is_refused() {
    let error = TestHost::boot(Options::new("path").bind_ro("/a:b", "/c")).unwrap_err();
    assert!(error.to_string().contains("`/a:b`"), "{error}");
}

#[test]
fn a_killed_test_leaves_no_host() {
    if env::var_os(VICTIM).is_some() {
        let host = TestHost::boot(Options::new("victim")).unwrap();
        println!("\nvictim {} {}", host.init_pid(), host.name());
        loop {
            std::thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_test_leaves_no_host", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let line = output
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("victim "))
        .expect("the victim boots its host");
    let (init, name) = line["victim ".len()..].split_once(' ').unwrap();
    let init: u32 = init.parse().unwrap();
    assert!(process_exists(init));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while process_exists(init) {
        assert!(Instant::now() < deadline, "{init} outlives its test");
        std::thread::yield_now();
    }

    // The next boot sweeps what only a living process could have removed.
    let next = TestHost::boot(Options::new("next")).unwrap();
    assert!(!cgroup_exists(name));
    assert!(!cache::dir().unwrap().join("hosts").join(name).exists());
    drop(next);
}
