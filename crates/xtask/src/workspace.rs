//! The checkout's folders, and how other programs are called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use cb_testhost::cache;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// What is kept between runs and shared by checkouts.
    pub(crate) cache: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built in.
    pub(crate) fn find() -> Result<Workspace> {
        let cache = cache::dir()?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache.join("target"), PathBuf::from);
        Ok(Workspace {
            root: cache::checkout(),
            target: env::current_dir()?.join(target),
            cache,
        })
    }

    /// A call of cargo for this checkout, with all that its build scripts and
    /// tests need.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CB_CACHE_DIR", &self.cache)
            .env("DUCKDB_LIB_DIR", crate::duckdb::folder(self));
        if !is_root() {
            // Test hosts need root; compiling does not.
            command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -E");
        }
        command
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // A process's folder in /proc belongs to its effective user.
    std::fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// A call of `program` as root: by sudo, if we are not.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-E", "--"]).arg(program);
    command
}

/// Whether `program` is in PATH, or where only root's PATH looks.
pub(crate) fn has_program(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Runs a command, its output going where ours goes; fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| describe(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", describe(command));
    }
    Ok(())
}

/// Runs a command and gives what it prints; its complaints go where ours go.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let Output { status, stdout, .. } = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| describe(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", describe(command));
    }
    String::from_utf8(stdout).with_context(|| describe(command))
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let mut text = program.unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
