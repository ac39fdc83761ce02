//! The files of events: one per object, readable by a person.

use std::path::PathBuf;

use cb_core::digest;
use cb_core::event::{Regarding, Series};
use cb_core::types::ObjectName;
use cb_host::files::{self, FileSpec, chain};

/// Only root reads them: like records, they may name what is meant for few.
const MODE: u32 = 0o600;

/// The folder of events.
#[derive(Debug, Clone)]
pub struct EventFolder(PathBuf);

/// What the folder held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The events.
    pub series: Vec<Series>,
    /// The files that could not be read, and why. They were set aside as
    /// `NAME.yaml.broken`.
    pub broken: Vec<String>,
}

impl EventFolder {
    /// The events in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes the folder and reads what is in it.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        files::ensure_dir(&self.0, FileSpec::own(0o700))?;
        files::remove_abandoned(&self.0)?;
        let mut loaded = Loaded::default();
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let content = files::FileCache::content(&path).map_err(|error| chain(&error));
            let parsed = content.and_then(|content| {
                serde_yaml::from_slice::<Vec<Series>>(&content).map_err(|error| error.to_string())
            });
            match parsed {
                Ok(series) => loaded.series.extend(series),
                Err(reason) => {
                    loaded.broken.push(format!("{}: {reason}", path.display()));
                    let aside = path.with_extension("yaml.broken");
                    files::remove(&aside)?;
                    files::move_dir(&path, &aside)?;
                }
            }
        }
        Ok(loaded)
    }

    /// Writes the events of an object; removes its file if there are none.
    pub(super) fn write(&self, of: &Regarding, series: &[Series]) -> Result<(), String> {
        let path = self.file(of);
        if series.is_empty() {
            return files::remove(&path)
                .map(drop)
                .map_err(|error| chain(&error));
        }
        let text = serde_yaml::to_string(series).map_err(|error| error.to_string())?;
        files::write(&path, text.as_bytes(), FileSpec::own(MODE)).map_err(|error| chain(&error))
    }

    fn file(&self, of: &Regarding) -> PathBuf {
        // Law 10: only what is a name is part of a path.
        let name = match of.name.parse::<ObjectName>() {
            Ok(name) => name.to_string(),
            Err(_) => digest::of_content(of.name.as_bytes()),
        };
        self.0.join(format!("{}-{name}.yaml", of.kind.singular()))
    }
}
