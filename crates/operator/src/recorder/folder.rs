//! The files of events: one per object, readable by a person.

use std::path::PathBuf;

use cb_core::digest;
use cb_core::event::{Regarding, Series};
use cb_core::types::ObjectName;
use cb_host::files::{self, chain};

use crate::yaml_folder;

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
        yaml_folder::prepare(&self.0)?;
        let mut broken = Vec::new();
        let series: Vec<Vec<Series>> = yaml_folder::read_all(&self.0, &mut broken, |_, _| None)?;
        let series = series.into_iter().flatten().collect();
        Ok(Loaded { series, broken })
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
