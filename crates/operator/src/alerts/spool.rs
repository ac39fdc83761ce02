//! The file of one sink: `<state>/alerts/NAME/spool.json`, what it was told and
//! what it has not taken. Written whole before anything is sent.

use std::io;
use std::path::{Path, PathBuf};

use cb_core::alert::Outbox;
use cb_host::files::{self, FileSpec, chain};

/// Messages may name what is meant for few.
const MODE: u32 = 0o600;
const FILE: &str = "spool.json";

/// The file of one sink.
#[derive(Debug, Clone)]
pub(super) struct Spool(PathBuf);

impl Spool {
    /// The spool of the sink of this name; makes its folder. If that fails,
    /// saving will say so: messages are sent nevertheless.
    pub(super) fn open(folder: &Path, sink: &str) -> Self {
        let folder = folder.join(sink);
        let made = files::ensure_dir(&folder, FileSpec::own(0o700));
        if let Err(error) = made.and_then(|()| files::remove_abandoned(&folder)) {
            tracing::warn!("{}", chain(&error));
        }
        Self(folder.join(FILE))
    }

    /// What was kept. A file that cannot be read is set aside as `.broken`, and
    /// the sink is told of everything anew.
    pub(super) fn load(&self) -> Option<Outbox> {
        let content = match files::FileCache::content(&self.0) {
            Ok(content) => content,
            Err(_) if !self.0.exists() => return None,
            Err(error) => return self.set_aside(&chain(&error)),
        };
        match serde_json::from_slice(&content) {
            Ok(outbox) => Some(outbox),
            Err(error) => self.set_aside(&error.to_string()),
        }
    }

    fn set_aside(&self, reason: &str) -> Option<Outbox> {
        let path = self.0.display();
        tracing::error!("{path} is broken and was set aside as .broken: {reason}");
        let aside = self.0.with_extension("json.broken");
        let moved = files::remove(&aside).and_then(|_| files::move_dir(&self.0, &aside));
        if let Err(error) = moved {
            tracing::warn!("{}", chain(&error));
        }
        None
    }

    /// Keeps this.
    pub(super) async fn save(&self, outbox: &Outbox) -> Result<(), String> {
        let text = serde_json::to_vec(outbox).map_err(|error| error.to_string())?;
        let path = self.0.clone();
        let write = move || files::write(&path, &text, FileSpec::own(MODE));
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written.map_err(|error| chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Removes the spools of sinks that have none of these names.
pub(super) fn remove_others(folder: &Path, names: &[&str]) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let known = names.iter().any(|name| entry.file_name() == *name);
        if known || !entry.file_type()?.is_dir() {
            continue;
        }
        for file in [FILE.to_owned(), format!("{FILE}.broken")] {
            files::remove(&entry.path().join(file))?;
        }
        files::remove_abandoned(&entry.path())?;
        // What a person put there stays.
        if let Err(error) = std::fs::remove_dir(entry.path()) {
            tracing::warn!("{} stays: {error}", entry.path().display());
        }
    }
    Ok(())
}
