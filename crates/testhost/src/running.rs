//! A command that goes on inside a host while the test does other things.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::{HostError, process};

/// A command in a host; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Running, HostError> {
        let output = File::create(&log).map_err(HostError::file("create", &log))?;
        let errors = output.try_clone().map_err(HostError::file("write", &log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(HostError::program("nsenter"))?;
        Ok(Running { child, log })
    }

    /// What it has printed so far, to stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its PID as seen from outside the host; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        process::children(self.child.id()).first().copied()
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = self.pid() {
            process::signal(pid, signal);
        }
    }

    /// Waits for its end; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        process::wait(&mut self.child, limit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if process::wait(&mut self.child, Duration::from_secs(5)).is_none() {
            // `nsenter` itself, should it not have started the command yet.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
