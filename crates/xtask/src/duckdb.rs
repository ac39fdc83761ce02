//! DuckDB's official shared library, at the version that the crate binds.
//!
//! Building DuckDB takes half an hour; the library comes ready in an npm
//! package of the DuckDB project. Pinned by version and SHA-256, complete or
//! absent in the cache.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::workspace::{Workspace, run};

/// DuckDB 1.5.6, as the crate `duckdb` 1.10506.1. Change both together.
const VERSION: &str = "1.5.6-r.1";
const PACKAGE: &str = "@duckdb/node-bindings-linux-x64";
const LIBRARY_SHA256: &str = "3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633";

/// The file's name, in the cache and beside the programs.
pub(crate) const LIBRARY: &str = "libduckdb.so";

/// The folder with the library, for `DUCKDB_LIB_DIR`.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("duckdb").join(VERSION)
}

/// Whether the library still has to be fetched.
pub(crate) fn is_missing(workspace: &Workspace) -> bool {
    !folder(workspace).join(LIBRARY).exists()
}

/// Fetches the library with npm, checks it, and puts it into the cache.
pub(crate) fn fetch(workspace: &Workspace) -> Result<()> {
    let target = folder(workspace);
    let part = target.with_extension(format!("{}.part", process::id()));
    fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
    let result = fetch_into(&part).and_then(|()| match fs::rename(&part, &target) {
        // Another run was faster, with the same content.
        Err(_) if target.join(LIBRARY).exists() => Ok(()),
        result => result.with_context(|| format!("cannot create {}", target.display())),
    });
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    result
}

fn fetch_into(folder: &Path) -> Result<()> {
    let package = format!("{PACKAGE}@{VERSION}");
    let mut npm = Command::new("npm");
    run(npm.args(["pack", "--silent", &package]).current_dir(folder))
        .context("cannot fetch DuckDB's shared library")?;
    let archive = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "tgz"))
        .context("npm pack left no archive")?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(folder);
    run(tar.args([
        "--strip-components=1",
        "package/libduckdb.so",
        "package/LICENSE",
    ]))?;
    fs::remove_file(&archive)?;
    let found = sha256(&folder.join(LIBRARY))?;
    if found != LIBRARY_SHA256 {
        bail!("{LIBRARY} of {package} has the SHA-256 {found}; {LIBRARY_SHA256} was expected");
    }
    Ok(())
}

/// The SHA-256 of a file's content, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    let mut file = File::open(path).with_context(context)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer).with_context(context)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    Ok(HEXLOWER.encode(&hash.finalize()))
}
