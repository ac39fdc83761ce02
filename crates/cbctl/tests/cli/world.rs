//! A folder, a server and a way to run `cbctl` there.

#![allow(clippy::disallowed_methods, reason = "files of a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Server;

pub(crate) struct World {
    pub(crate) server: Server,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("operator.sock"));
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { server, folder }
    }

    /// Writes a file into the working folder.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// A run of `cbctl` that is not started yet.
    pub(crate) fn command(&self, line: &str) -> Command {
        command(
            &self.folder.path().join("operator.sock"),
            &self.work(),
            line,
        )
    }

    /// Runs `cbctl` and gives all that it said.
    pub(crate) fn run(&self, line: &str) -> String {
        self.run_with(line, "")
    }

    /// As [`World::run`], with text on standard input.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> String {
        let socket = self.folder.path().join("operator.sock");
        let said = run_at(&socket, &self.work(), line, input);
        said.replace(&self.folder.path().display().to_string(), "[folder]")
    }
}

/// Runs `cbctl` for a socket, in a folder.
pub(crate) fn run_at(socket: &Path, folder: &Path, line: &str, input: &str) -> String {
    use std::io::Write as _;
    let mut child = command(socket, folder, line).spawn().unwrap();
    // It may end without reading it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(!out.contains('\x1b') && !err.contains('\x1b'), "{out}{err}");
    let mut said = format!("$ cbctl {line}\n{out}");
    if !err.is_empty() {
        said.push_str(&format!("--- stderr\n{err}"));
    }
    said.push_str(&format!("--- exit {}\n", output.status.code().unwrap()));
    said
}

fn command(socket: &Path, folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cbctl"));
    command
        .args(line.split_whitespace())
        .env_clear()
        .env("CBCTL_SERVER", format!("unix://{}", socket.display()))
        .env("CBCTL_NOW", "2026-03-04T12:00:00Z")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A tenant's manifest; `more` are further lines of its spec.
pub(crate) fn tenant(name: &str, more: &str) -> String {
    let mut text = format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata:\n  name: {name}\n\
         spec:\n  application: cbapp\n  version: v0.1.0\n"
    );
    for line in more.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// An Application's manifest.
pub(crate) const CBAPP: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions:
  - {name: v0.1.0, folder: {path: /srv/cbapp/v0.1.0}}
  services:
  - {name: api, command: bin/cbapp-api, portOffset: 1, env: {TOKEN: a-value}}
";
