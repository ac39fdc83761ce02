//! nginx: sites go live only after nginx itself accepted all of its
//! configuration with them.
//!
//! Changes that arrive together are one run: stage, test, write, reload. The
//! test happens in a private mount namespace where a copy of the sites folder
//! with the changes lies over the real one (`stage`), so the live folder never
//! holds an untested site. If the test fails, the offenders are found
//! (`offender`), keep their last good site, and the rest go live. A
//! configuration that is broken without our sites is left alone.
//!
//! Crash safety: a marker is in the state folder while files may differ from
//! what nginx has loaded; [`Nginx::recover`] makes up for the reload.

mod loaded;
mod offender;
mod ports;
mod stage;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cb_core::mark::Owner;
use cb_runtime::{CoalesceConfig, Coalescer, Ticket};

use crate::counts::{NginxCounter, Tally, Tests};
use crate::files::{self, FileCache, FileError, FileSpec, chain};
use crate::retry::Retry;
use crate::systemd::Systemd;
use loaded::Loaded;
use offender::Overlay;
pub use ports::ReferencedPorts;
use stage::SystemTester;
use workers::Workers;
pub use workers::user;

/// How long new workers may take to serve after a reload.
const EFFECT_WITHIN: Duration = Duration::from_secs(10);
const RELOAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Where nginx's things are.
#[derive(Debug, Clone)]
pub struct NginxPaths {
    /// The main configuration.
    pub config: PathBuf,
    /// The folder of sites.
    pub sites: PathBuf,
    /// nginx's unit.
    pub unit: String,
    /// The operator's state folder.
    pub state: PathBuf,
}

/// A site to write, or to remove.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteChange {
    /// The file's name in the sites folder.
    pub name: String,
    /// The whole content; `None` removes the site.
    pub content: Option<Vec<u8>>,
}

/// Why a site is not live as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// nginx does not accept the site; the one before stays.
    #[error("nginx rejects the site: {message}; the last good site stays")]
    Rejected {
        /// nginx's words.
        message: String,
    },
    /// nginx does not accept its configuration without our sites either.
    #[error(
        "nginx's configuration is broken outside of the tenants' sites, so nothing was changed: {message}"
    )]
    BrokenBefore {
        /// nginx's words.
        message: String,
    },
    /// The site is written, but there is no nginx to load it.
    #[error(
        "the site is written and tested, but {unit} is not running; start it with `systemctl start {unit}`"
    )]
    NotRunning {
        /// nginx's unit.
        unit: String,
    },
    /// The site is written, but nginx did not load it.
    #[error("the site is written and tested, but {unit} could not be reloaded: {message}")]
    Reload {
        /// nginx's unit.
        unit: String,
        /// Why.
        message: String,
        /// Whether it is expected to pass by itself.
        transient: bool,
    },
    /// A file without our mark has the site's name.
    #[error("{} is there without the operator's mark; it is not touched. Move it away or give it another name", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
    },
    /// The site could not be staged, tested or written.
    #[error("{message}")]
    System {
        /// What failed and why.
        message: String,
        /// Whether the disk is full.
        no_space: bool,
    },
}

impl From<FileError> for SiteError {
    fn from(error: FileError) -> Self {
        SiteError::System {
            message: chain(&error),
            no_space: error.is_no_space(),
        }
    }
}

type Outcome = Arc<BTreeMap<String, SiteError>>;

/// The sites of nginx.
#[derive(Debug)]
pub struct Nginx {
    batch: Coalescer<Option<SiteChange>, Outcome>,
    marker: PathBuf,
    loaded: Loaded,
    retry: Retry,
    counter: Arc<NginxCounter>,
}

impl Nginx {
    /// Starts the task that applies changes.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn spawn(paths: NginxPaths, systemd: Systemd) -> Self {
        let marker = paths.state.join("pending/nginx-reload");
        let loaded = Loaded::new(paths.config.clone());
        let counter = Arc::new(NginxCounter::default());
        let worker = Arc::new(Worker {
            tester: SystemTester::new(&paths, Arc::clone(&counter)),
            counter: Arc::clone(&counter),
            marker: marker.clone(),
            systemd,
            paths,
        });
        let batch = Coalescer::spawn(CoalesceConfig::default(), move |changes| {
            let worker = Arc::clone(&worker);
            async move { Arc::new(worker.run(changes).await) }
        });
        let retry = Retry::default();
        Self {
            batch,
            marker,
            loaded,
            retry,
            counter,
        }
    }

    /// How often nginx was asked to load its configuration again, and to test
    /// it.
    #[must_use]
    pub fn counts(&self) -> (Tally, Tests) {
        (self.counter.reloads.get(), self.counter.tests())
    }

    /// Applies a change together with all others that are asked for at the same
    /// time.
    ///
    /// # Errors
    /// See [`SiteError`]; other sites of the same run are not concerned.
    pub async fn submit(&self, change: SiteChange) -> Result<(), SiteError> {
        let name = change.name.clone();
        self.wait(self.batch.submit(Some(change)), &name).await
    }

    /// Does the reload that a killed process owed, if it did.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub async fn recover(&self) -> Result<(), SiteError> {
        if !self.marker.exists() {
            return Ok(());
        }
        self.wait(self.batch.submit(None), "").await
    }

    /// Whether the running nginx has read its configuration since a site's file
    /// was touched. `None` if that cannot be known, or a reload is under way.
    #[must_use]
    pub fn has_read(&self, site: &Path) -> Option<bool> {
        if self.marker.exists() {
            return None;
        }
        self.loaded.has_read(site)
    }

    async fn wait(&self, ticket: Ticket<Outcome>, name: &str) -> Result<(), SiteError> {
        let answer = result(ticket, name).await;
        if let Err(SiteError::Reload { .. }) = answer {
            // The file is as it should be, so no plan will ask again.
            let (batch, marker) = (self.batch.clone(), self.marker.clone());
            self.retry.until_ok(move || {
                let owed = marker.exists().then(|| batch.submit(None));
                async move {
                    match owed {
                        Some(ticket) => result(ticket, "").await.is_ok(),
                        None => true,
                    }
                }
            });
        }
        answer
    }
}

async fn result(ticket: Ticket<Outcome>, name: &str) -> Result<(), SiteError> {
    let outcome = ticket.await.map_err(|error| SiteError::System {
        message: error.to_string(),
        no_space: false,
    })?;
    match outcome.get(name) {
        Some(error) => Err(error.clone()),
        None => Ok(()),
    }
}

struct Worker {
    paths: NginxPaths,
    marker: PathBuf,
    systemd: Systemd,
    tester: SystemTester,
    counter: Arc<NginxCounter>,
}

impl Worker {
    /// What did not work out, by site; under the empty name what concerns a
    /// reload that was asked for by itself.
    async fn run(&self, requests: Vec<Option<SiteChange>>) -> BTreeMap<String, SiteError> {
        let mut errors = BTreeMap::new();
        let mut changes = Overlay::new();
        let mut asked = BTreeSet::new();
        for request in requests {
            let Some(change) = request else {
                asked.insert(String::new());
                continue;
            };
            asked.insert(change.name.clone());
            match self.check(&change) {
                // The latest wins: each caller asks with its latest spec.
                Ok(()) => drop(changes.insert(change.name, change.content)),
                Err(error) => drop(errors.insert(change.name, error)),
            }
        }
        if let Err(error) = self.apply(changes, &mut errors).await {
            for name in asked {
                errors.entry(name).or_insert_with(|| error.clone());
            }
        }
        errors
    }

    /// Law 3, also if the file appeared after the plan was made.
    fn check(&self, change: &SiteChange) -> Result<(), SiteError> {
        let path = self.paths.sites.join(&change.name);
        let mark = change.content.as_deref().map(Owner::of);
        let there = match path.symlink_metadata() {
            Err(_) => return Ok(()),
            Ok(meta) if meta.is_file() => FileCache::content(&path).ok(),
            Ok(_) => None,
        };
        let there = there.as_deref().and_then(Owner::of);
        match there {
            Some(owner) if mark.is_none_or(|mark| mark.as_ref() == Some(&owner)) => Ok(()),
            _ => Err(SiteError::Conflict { path }),
        }
    }

    /// An error concerns all; errors of single sites go to `errors`.
    async fn apply(
        &self,
        changes: Overlay,
        errors: &mut BTreeMap<String, SiteError>,
    ) -> Result<(), SiteError> {
        let own = self.own_sites()?;
        let judged = offender::judge(&self.tester, &own, changes).await?;
        for (name, message) in judged.rejected {
            errors.insert(name, SiteError::Rejected { message });
        }
        // A site that is rejected again and again costs no reload.
        let nothing = judged.accepted.is_empty() && judged.set_aside.is_empty();
        if nothing && !self.marker.exists() {
            return Ok(());
        }
        files::ensure_dir(parent(&self.marker), FileSpec::own(0o700))?;
        files::write(&self.marker, b"", FileSpec::own(0o600))?;
        for (name, message) in &judged.set_aside {
            tracing::error!(
                site = name,
                message,
                "nginx rejects a live site; it is set aside"
            );
            self.set_aside(name)?;
        }
        for (name, content) in &judged.accepted {
            let path = self.paths.sites.join(name);
            let done = match content {
                Some(content) => files::write(&path, content, FileSpec::own(0o644)),
                None => files::remove(&path).map(drop),
            };
            if let Err(error) = done {
                errors.insert(name.clone(), error.into());
            }
        }
        self.reload().await?;
        files::remove(&self.marker)?;
        Ok(())
    }

    async fn reload(&self) -> Result<(), SiteError> {
        let unit = self.paths.unit.clone();
        let failed = |message: String, transient| SiteError::Reload {
            unit: unit.clone(),
            message,
            transient,
        };
        if !self.is_running().await {
            // It reads everything when it starts: no reload is owed.
            files::remove(&self.marker)?;
            return Err(SiteError::NotRunning { unit });
        }
        let workers = Workers::now(&self.paths.config);
        let reloaded = match self.systemd.reload(&unit, RELOAD_TIMEOUT).await {
            Ok(result) if result.is_done() => match workers {
                Some(workers) if !workers.replaced(EFFECT_WITHIN).await => {
                    let message = "it started no new workers; see nginx's error log".to_owned();
                    Err(failed(message, false))
                }
                _ => Ok(()),
            },
            Ok(result) => {
                let message = format!("the job ended with `{result}`; see `journalctl -u {unit}`");
                Err(failed(message, false))
            }
            Err(error) => Err(failed(chain(&error), error.is_transient())),
        };
        self.counter.reloads.count(&reloaded);
        reloaded
    }

    /// Whether nginx runs, as far as systemd can be asked. What the signals
    /// said last is enough for a yes. A no would drop a reload that is owed, so
    /// it is asked for anew: a unit may just be between two of its states.
    async fn is_running(&self) -> bool {
        let seen = || {
            let state = self.systemd.unit(&self.paths.unit);
            !self.systemd.is_fresh() || state.is_some_and(|state| state.is_active())
        };
        seen() || self.systemd.relist().await.is_err() || seen()
    }

    /// The live sites that carry our mark.
    fn own_sites(&self) -> Result<Overlay, SiteError> {
        let folder = &self.paths.sites;
        let failed = |source| FileError::io("read the folder of nginx's sites", folder, source);
        let mut own = Overlay::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(".conf")) else {
                continue;
            };
            if let Ok(content) = FileCache::content(&folder.join(name))
                && Owner::of(&content).is_some()
            {
                own.insert(name.to_owned(), Some(content));
            }
        }
        Ok(own)
    }

    /// Moves a site that nginx no longer accepts out of its way. Its tenant's
    /// next pass finds it missing, tries it, and reports nginx's words.
    fn set_aside(&self, name: &str) -> Result<(), SiteError> {
        let path = self.paths.sites.join(name);
        let folder = self.paths.state.join("quarantine");
        files::ensure_dir(&folder, FileSpec::own(0o700))?;
        let content = FileCache::content(&path)?;
        files::write(&folder.join(name), &content, FileSpec::own(0o600))?;
        files::remove(&path)?;
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
