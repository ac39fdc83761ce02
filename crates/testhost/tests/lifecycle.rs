//! A test host comes up, can be used, and leaves nothing behind.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cb_testhost::{Options, TestHost, cache};

/// Set for the process of [`a_killed_test_leaves_no_host`] that is killed.
const VICTIM: &str = "CB_TESTHOST_VICTIM";

/// More services than `keep.sh` ends at a time.
const HARDENED: usize = 20;

fn cgroup_exists(name: &str) -> bool {
    ["", "systemd", "unified"].iter().any(|hierarchy| {
        let folder = Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
        folder.exists()
    })
}

/// Starts services with seccomp filters, more than end at a time, which write
/// down each start and each end of theirs that anybody in the host lives to see.
fn start_hardened(host: &TestHost) {
    let unit = b"[Service]\nRestart=always\nRestartSec=0\n\
        ExecStart=/bin/sh -c 'echo %i >>/root/starts; exec sleep infinity'\n\
        ExecStopPost=/bin/sh -c 'echo %i >>/root/ends'\n\
        SystemCallFilter=@system-service\nRestrictNamespaces=yes\nRestrictRealtime=yes\n\
        MemoryDenyWriteExecute=yes\nLockPersonality=yes\nProtectClock=yes\n";
    host.push(unit, "/run/systemd/system/hard@.service", 0o644)
        .unwrap();
    host.sh(&format!(
        "systemctl daemon-reload; systemctl start $(seq -f hard@%g.service {HARDENED})\n\
         until [ \"$(wc -l </root/starts)\" = {HARDENED} ]; do :; done"
    ))
    .unwrap();
    let status = host.sh("cat /proc/$(systemctl show -P MainPID hard@1)/status");
    let status = status.unwrap();
    assert!(!status.contains("Seccomp_filters:\t0"), "{status}");
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
fn a_power_cut_is_one_instant_however_many_services_there_are() {
    let mut host = TestHost::boot(Options::new("instant").keep_disk()).unwrap();
    start_hardened(&host);
    host.power_cycle().unwrap();
    // Nothing in the host saw a service of it end, or started it again.
    let starts = String::from_utf8(host.read("/root/starts").unwrap()).unwrap();
    assert_eq!(starts.lines().count(), HARDENED, "{starts}");
    assert!(host.read("/root/ends").is_err());
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
        start_hardened(&host);
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
    // A boot beside it takes nothing that lives for a leftover.
    drop(TestHost::boot(Options::new("beside")).unwrap());
    assert!(process_exists(init));
    assert!(cgroup_exists(name));
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What ends the host holds its lock; another boot may have swept it by now.
    let folder = cache::dir().unwrap().join("hosts").join(name);
    if let Ok(lock) = File::open(folder.join("lock")) {
        lock.lock().unwrap();
    }
    assert!(!process_exists(init));

    // The next boot sweeps what only a living process could have removed.
    let next = TestHost::boot(Options::new("next")).unwrap();
    assert!(!cgroup_exists(name));
    assert!(!folder.exists());
    drop(next);
}
