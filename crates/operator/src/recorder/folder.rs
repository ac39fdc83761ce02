//! The files of events: one per object, readable by a person.

use std::path::PathBuf;

use cb_core::digest;
use cb_core::event::{Regarding, Series};
use cb_core::types::ObjectName;
use cb_host::files::{self, chain};

use crate::yaml_folder::{self, Loaded};

/// The folder of events.
#[derive(Debug, Clone)]
pub struct EventFolder(PathBuf);

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
    pub fn load(&self) -> anyhow::Result<Loaded<Series>> {
        let loaded: Loaded<Vec<Series>> = yaml_folder::load(&self.0, |_, _| None)?;
        Ok(Loaded {
            values: loaded.values.into_iter().flatten().collect(),
            broken: loaded.broken,
        })
    }

    /// Writes the events of an object; removes its file if there are none.
    pub(super) fn write(&self, of: &Regarding, series: &[Series]) -> Result<(), String> {
        let path = self.file(of);
        if series.is_empty() {
            return files::remove(&path)
                .map(drop)
                .map_err(|error| chain(&error));
        }
        yaml_folder::write(&path, series)
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
