//! A folder of the tenant's own, with the program and its library in it, and
//! ways to run things there as the tenant's user.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The user that programs run as where the test runs as root.
const TENANT: u32 = 65534;

/// One tenant's folder.
pub(crate) struct World {
    folder: TempDir,
}

/// What a run of the program ended with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) document: Value,
    pub(crate) progress: String,
}

/// A process that holds a database; killed if a test forgets it.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = World { folder };
        let own = env::current_exe().unwrap();
        let examples = own.parent().unwrap().with_file_name("examples");
        for (from, name) in [
            (Path::new(env!("CARGO_BIN_EXE_cb-duckdb")), "cb-duckdb"),
            (Path::new(env!("CB_TEST_DUCKDB_LIB")), "libduckdb.so"),
            (&examples.join("writer"), "writer"),
        ] {
            let to = world.folder.path().join(name);
            if fs::hard_link(from, &to).is_err() {
                fs::copy(from, &to).unwrap_or_else(|error| {
                    let from = from.display();
                    panic!("{from}: {error}; `cargo test -p cb-duckdb` builds all of it")
                });
            }
        }
        fs::create_dir(world.path("")).unwrap();
        world.give("");
        world
    }

    /// A path in the tenant's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    /// Makes a file the tenant's.
    pub(crate) fn give(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            chown(self.path(name), Some(TENANT), Some(TENANT)).unwrap();
        }
    }

    /// Writes a file that belongs to the tenant.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        self.give(name);
    }

    /// Writes a folder of migrations.
    pub(crate) fn migrations(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path(name);
        // Written anew, so that a test can take files away.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (file, sql) in files {
            fs::write(folder.join(file), sql).unwrap();
        }
        folder
    }

    /// A call of `program` of this folder as the tenant's user.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = self.folder.path().join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let user = TENANT.to_string();
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.path("")).stdin(Stdio::null());
        command
    }

    /// Runs `cb-duckdb` with `arguments`, separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        finish(self.command("cb-duckdb").args(arguments.split_whitespace()))
    }

    /// Runs `cb-duckdb`, which must succeed; the document.
    pub(crate) fn ok(&self, arguments: &str) -> Value {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments}: {run:?}");
        run.document
    }

    /// Runs `cb-duckdb`, which must fail with `code`; the error.
    pub(crate) fn fails(&self, arguments: &str, code: i32) -> Value {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments}: {run:?}");
        run.document["error"].clone()
    }

    /// Removes a database and what lies beside it.
    pub(crate) fn remove(&self, name: &str) {
        for suffix in ["", ".wal", ".wal.checkpoint", ".wal.recovery"] {
            // Most of them are not there.
            let _ = fs::remove_file(self.path(&format!("{name}{suffix}")));
        }
    }

    /// How long a run takes that must succeed.
    pub(crate) fn time(&self, arguments: &str) -> Duration {
        let started = Instant::now();
        self.ok(arguments);
        started.elapsed()
    }

    /// Runs `cb-duckdb` and kills it after `moment`, if it has not ended then.
    /// Which moment it is matters to a caller that tries many.
    pub(crate) fn kill_at(&self, arguments: &str, moment: Duration) {
        let mut child = self
            .command("cb-duckdb")
            .args(arguments.split_whitespace())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
    }

    /// The digest of a database's content.
    pub(crate) fn digest(&self, file: &str) -> String {
        let document = self.ok(&format!("digest {file}"));
        document["content"]["digest"].as_str().unwrap().to_owned()
    }

    /// Runs SQL in `file` and ends without a checkpoint.
    pub(crate) fn sql(&self, file: &str, sql: &str) {
        let output = self.command("writer").args([file, sql]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A process that ran SQL in `file` and holds it.
    pub(crate) fn hold(&self, file: &str, sql: &str) -> Process {
        let mut command = self.command("writer");
        command.args([file, sql]);
        let mut process = Process(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        process
    }

    /// Every file in the tenant's folder with its content, to see that nothing
    /// was changed.
    pub(crate) fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// Runs a command to its end and reads its one document.
pub(crate) fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    Run {
        code: output.status.code(),
        document: serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {stdout:?} {progress:?}")),
        progress,
    }
}
