//! The host as tests see it: boot it, run things in it, look at it.

use std::fmt::Display;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::Artifacts;
use crate::error::tail;
use crate::machine::{Machine, Spec};
use crate::slots::{self, Slot};
use crate::{HostError, Running};

/// How long one command may take. Long: it is there to end a hang.
const COMMAND_LIMIT: &str = "120";

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// What kind of host to boot.
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    hint: String,
    spec: Spec,
    error: Option<String>,
}

impl Options {
    /// A plain host; `hint` is part of its name.
    pub fn new(hint: &str) -> Options {
        let spec = Spec {
            nspawn: Vec::new(),
            keep_disk: false,
        };
        Options {
            hint: hint.to_owned(),
            spec,
            error: None,
        }
    }

    /// Shows the folder or file `outside` as `inside`, read-only.
    pub fn bind_ro(self, outside: impl Display, inside: &str) -> Options {
        let outside = outside.to_string();
        self.check(&[&outside, inside])
            .nspawn(format!("--bind-ro={outside}:{inside}"))
    }

    /// Mounts an empty file system of `bytes` at `path`: soon full.
    pub fn tmpfs(self, path: &str, bytes: u64) -> Options {
        self.check(&[path])
            .nspawn(format!("--tmpfs={path}:size={bytes},mode=0755"))
    }

    /// Shows this checkout's programs as `/opt/cb/bin` and the example
    /// application's releases as `/opt/cb/releases`.
    pub fn artifacts(self, artifacts: &Artifacts) -> Options {
        self.bind_ro(artifacts.bin.display(), "/opt/cb/bin")
            .bind_ro(artifacts.releases.display(), "/opt/cb/releases")
    }

    /// Keeps what is written to `/` (not to `/run`, `/tmp` and other
    /// file systems) over [`TestHost::power_cycle`].
    pub fn keep_disk(mut self) -> Options {
        self.spec.keep_disk = true;
        self
    }

    fn nspawn(mut self, option: String) -> Options {
        self.spec.nspawn.push(option);
        self
    }

    fn check(mut self, paths: &[&str]) -> Options {
        let plain = |path: &&&str| path.starts_with('/') && !path.contains([':', '\\']);
        if let Some(wrong) = paths.iter().find(|path| !plain(path)) {
            self.error.get_or_insert((*wrong).to_owned());
        }
        self
    }
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

/// The answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A running host. Dropping it kills it and removes all traces.
#[derive(Debug)]
pub struct TestHost {
    // Before the slot: it is given back after the machine has gone.
    machine: Machine,
    _slot: Option<Slot>,
    spawned: AtomicU32,
}

impl TestHost {
    /// Boots one host, and waits for its turn if many run. A test that needs
    /// several must use [`TestHost::boot_all`].
    ///
    /// # Errors
    /// It does not come up to `running`, without any failed unit.
    pub fn boot(options: Options) -> Result<TestHost, HostError> {
        let mut hosts = TestHost::boot_all(vec![options])?;
        Ok(hosts.pop().expect("one host per options"))
    }

    /// Boots several hosts, at the same time; one for each of `options`.
    ///
    /// # Errors
    /// As [`TestHost::boot`]; then none is left running.
    pub fn boot_all(options: Vec<Options>) -> Result<Vec<TestHost>, HostError> {
        // Before a slot is taken: the first build of the root file system is slow.
        crate::rootfs::ensure()?;
        let mut slots = slots::take(options.len())?;
        let boots: Vec<_> = options
            .into_iter()
            .map(|options| {
                let slot = slots.pop();
                thread::spawn(|| TestHost::boot_in(slot, options))
            })
            .collect();
        let hosts: Vec<_> = boots
            .into_iter()
            .map(|boot| boot.join().expect("booting does not panic"))
            .collect();
        hosts.into_iter().collect()
    }

    fn boot_in(slot: Option<Slot>, options: Options) -> Result<TestHost, HostError> {
        if let Some(path) = options.error {
            return Err(HostError::Path(path));
        }
        let host = TestHost {
            machine: Machine::boot(&options.hint, options.spec)?,
            _slot: slot,
            spawned: AtomicU32::new(0),
        };
        host.check_running()?;
        Ok(host)
    }

    fn check_running(&self) -> Result<(), HostError> {
        let state = self.exec(&["systemctl", "is-system-running"])?.stdout;
        if state.trim() == "running" {
            return Ok(());
        }
        let failed = self.exec(&["systemctl", "--failed", "--full", "--no-pager"])?;
        Err(HostError::Boot {
            name: self.name().to_owned(),
            reason: format!("its state is {}", state.trim()),
            log: format!("{}\n{}", failed.stdout, tail(&self.journal(""), 40)),
        })
    }

    /// Its unique name, also its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// The PID of its systemd, as seen from outside.
    #[must_use]
    pub fn init_pid(&self) -> u32 {
        self.machine.init()
    }

    /// Cuts the power and boots again. Everything is lost, except, with
    /// [`Options::keep_disk`], the disk.
    ///
    /// # Errors
    /// It does not come up again; unlike after a boot, units may have failed.
    pub fn power_cycle(&mut self) -> Result<(), HostError> {
        self.machine.power_cycle()
    }

    /// Kills it; the same as dropping it.
    pub fn kill(self) {}

    /// A command that will run in the host, as root, in `/`, with a small
    /// environment of its own. For what the other functions do not offer.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init_pid()))
            .args(["--all", "--", program])
            .env_clear()
            .env(
                "PATH",
                "/opt/cb/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        command
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn exec(&self, arguments: &[&str]) -> Result<Output, HostError> {
        self.exec_with(arguments, b"")
    }

    /// Like [`TestHost::exec`], with `input` as its standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn exec_with(&self, arguments: &[&str], input: &[u8]) -> Result<Output, HostError> {
        let output = self.run(arguments, input)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Runs a shell script with `set -eu`; what it prints.
    ///
    /// # Errors
    /// It ends with another code than 0; the error has all it printed.
    pub fn sh(&self, script: &str) -> Result<String, HostError> {
        let output = self.exec(&["sh", "-euc", script])?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        Err(self.failed(script, output))
    }

    /// Starts a command that goes on; see [`Running`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Running, HostError> {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed);
        let log = self.machine.folder().join(format!("spawned-{number}"));
        let (program, rest) = arguments.split_first().unwrap_or((&"true", &[]));
        let mut command = self.command(program);
        command.args(rest);
        Running::start(command, log)
    }

    /// Writes a file in the host, whole or not at all; makes its folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&self, content: &[u8], path: &str, mode: u32) -> Result<(), HostError> {
        let script = "mkdir -p \"$(dirname \"$1\")\"\n\
                      cat >\"$1.pushed\"\nchmod \"$2\" \"$1.pushed\"\nmv -T \"$1.pushed\" \"$1\"";
        let mode = format!("{mode:o}");
        let output = self.exec_with(&["sh", "-euc", script, "push", path, &mode], content)?;
        if output.code == Some(0) {
            return Ok(());
        }
        Err(self.failed(&format!("push {path}"), output))
    }

    /// The content of a file in the host.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, HostError> {
        let output = self.run(&["cat", "--", path], b"")?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let failed = Output {
            code: output.status.code(),
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        Err(self.failed(&format!("cat {path}"), failed))
    }

    /// Asks with curl, `arguments` being the URL and what else curl is to know,
    /// for example `["-H", "Host: a.example", "http://localhost/"]`.
    ///
    /// # Errors
    /// There is no HTTP answer at all.
    pub fn curl(&self, arguments: &[&str]) -> Result<Response, HostError> {
        let mut command = vec!["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}"];
        command.extend(arguments);
        let output = self.exec(&command)?;
        let answer = output.stdout.rsplit_once('\n');
        match answer.and_then(|(body, status)| Some((body, status.parse().ok()?))) {
            Some((body, status)) if output.code == Some(0) => Ok(Response {
                status,
                body: body.to_owned(),
            }),
            _ => Err(self.failed(&command.join(" "), output)),
        }
    }

    /// What a unit has written to the journal; of all units if `unit` is empty.
    #[must_use]
    pub fn journal(&self, unit: &str) -> String {
        let mut command = vec!["journalctl", "--no-pager", "--output=short-precise"];
        if !unit.is_empty() {
            command.extend(["--unit", unit]);
        }
        // It is for people who look for a reason; why there is none is one too.
        match self.exec(&command) {
            Ok(output) => output.stdout + &output.stderr,
            Err(error) => error.to_string(),
        }
    }

    /// Looks again and again until `probe` gives `Ok`; `Err` is what was seen
    /// instead. For conditions in a host that nothing announces.
    ///
    /// # Errors
    /// `timeout` is over; with what was last seen and the journal's end.
    pub fn wait_until<T, E: Display>(
        &self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut() -> Result<T, E>,
    ) -> Result<T, HostError> {
        let deadline = Instant::now() + timeout;
        loop {
            match probe() {
                Ok(value) => return Ok(value),
                Err(seen) if Instant::now() >= deadline => {
                    return Err(HostError::Wait {
                        name: self.name().to_owned(),
                        what: what.to_owned(),
                        timeout,
                        seen: seen.to_string(),
                        journal: tail(&self.journal(""), 60),
                    });
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<std::process::Output, HostError> {
        let failed = || HostError::program("nsenter");
        let mut child = self
            .command("timeout")
            .args(["--kill-after=5", COMMAND_LIMIT])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed())?;
        let mut stdin = child.stdin.take().expect("it was just asked for");
        let input = input.to_vec();
        // Beside the reading: both sides could block on a full pipe. A command
        // that reads nothing closes the pipe, which is its good right.
        let writer = thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().map_err(failed())?;
        let _ = writer.join();
        Ok(output)
    }

    fn failed(&self, script: &str, output: Output) -> HostError {
        HostError::Command {
            name: self.name().to_owned(),
            script: script.to_owned(),
            code: match output.code {
                Some(124) => "code 124 (it may have taken too long)".to_owned(),
                Some(code) => format!("code {code}"),
                None => "a signal".to_owned(),
            },
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }
}
