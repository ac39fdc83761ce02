//! Takes readings of the folder of manifests into the state.
//!
//! What a reading means is decided by `cb_core::admission`; here it is carried
//! out: records are written, passes are woken, and `reports` tells of refusals
//! where a person looks. A reading is always judged whole, so nothing depends on
//! having seen the one before.

mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cb_core::admission::{
    Admission, Change, Decision, Known, KnownApplication, KnownTenant, Scan as Manifests, admit,
};
use cb_core::api::{Application, DeletionPolicy, Host, Kind, Tenant};
use cb_core::event::{Event, Reason};
use cb_core::manifest::{File, parse};
use cb_core::patch::Provenance;
use cb_core::record::{Phase, Record};
use cb_core::releases::run_by;
use cb_core::secret::SecretSource;
use cb_core::types::{ObjectName, TenantName, is_sealed_file};
use cb_runtime::{FileRead, Filter, Scan};

use self::reports::Reports;
use crate::recorder::Recorder;
use crate::state::{ApplicationRecord, State};
use crate::status_file::StatusFiles;

/// Which files of the folder are manifests, or encrypted files of secrets that
/// manifests name.
#[derive(Debug, Clone, Copy)]
pub struct ManifestFiles;

impl Filter for ManifestFiles {
    fn file(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return false;
        };
        let yaml = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        (yaml || is_sealed_file(name)) && !name.starts_with('.') && !name.ends_with(".status.yaml")
    }

    fn folder(&self, path: &Path) -> bool {
        path.file_name()
            .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    }
}

/// When what could not be saved is judged again, in milliseconds: nothing else
/// would bring it up, as a reading that is the same is not given again.
const RETRY: u64 = 5000;
/// Takes readings into the state.
pub struct Catalog {
    state: Arc<State>,
    host: Arc<Host>,
    status: Arc<StatusFiles>,
    recorder: Recorder,
    reports: Reports,
    seen: Mutex<Seen>,
    /// The commit that the folder of manifests is, if it is one.
    revision: Mutex<Option<String>>,
    /// One reading at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Seen {
    /// The last reading, parsed.
    manifests: Arc<Manifests>,
    /// Its files with what they were read as, so that only what changed is
    /// parsed again.
    read: BTreeMap<String, FileRead>,
    /// The encrypted files next to them. What is in them is the host's to read.
    sealed: BTreeMap<PathBuf, FileRead>,
    missing: BTreeMap<TenantName, u64>,
    /// The newest reading that was judged.
    sequence: u64,
    /// Why it is not complete.
    problem: Option<String>,
}

/// What came of a reading.
#[derive(Debug, Default)]
pub struct Taken {
    /// Tenants whose spec, file or place in life changed.
    pub changed: BTreeSet<TenantName>,
    /// Tenants of which only the report changed.
    pub touched: BTreeSet<TenantName>,
    /// When to judge again although nothing changes, in milliseconds.
    pub recheck_at: Option<u64>,
}

impl Catalog {
    /// A catalog that has read nothing yet.
    #[must_use]
    pub fn new(
        state: Arc<State>,
        host: Arc<Host>,
        status: Arc<StatusFiles>,
        recorder: Recorder,
    ) -> Self {
        Self {
            reports: Reports {
                state: Arc::clone(&state),
                host: Arc::clone(&host),
                status: Arc::clone(&status),
                recorder: recorder.clone(),
                last: Mutex::default(),
            },
            state,
            host,
            status,
            recorder,
            seen: Mutex::default(),
            revision: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Says which commit the folder of manifests is from now on; returns what
    /// was said before.
    pub fn set_revision(&self, revision: Option<String>) -> Option<String> {
        let mut now = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *now, revision)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revision(&self) -> Option<String> {
        let now = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// What was accepted so far.
    #[must_use]
    pub fn known_now(&self) -> Known {
        let missing = self.seen().missing.clone();
        self.known(&missing)
    }

    /// The last reading, parsed.
    #[must_use]
    pub fn manifests(&self) -> Arc<Manifests> {
        Arc::clone(&self.seen().manifests)
    }

    /// Judges a reading and carries it out. One that is older than the last is
    /// left: what it says may have been undone by a person's explicit word.
    pub async fn take(&self, scan: &Scan, now: u64) -> Taken {
        let _turn = self.turn.lock().await;
        {
            let mut seen = self.seen();
            if scan.sequence < seen.sequence {
                return Taken::default();
            }
            seen.sequence = scan.sequence;
            seen.problem = scan
                .problem
                .as_ref()
                .map(|problem| format!("the folder of manifests is not read in full: {problem}"));
        }
        let (sealed, files): (BTreeMap<_, _>, BTreeMap<_, _>) = (scan.files.clone())
            .into_iter()
            .partition(|(path, _)| is_sealed_file(&path.to_string_lossy()));
        let manifests = self.parse(scan.complete, &files);
        let mut taken = self.carry_out(&manifests, now).await;
        taken.touched.extend(self.with_secrets_in(sealed));
        taken
    }

    /// The tenants with a secret in an encrypted file that is another one now.
    fn with_secrets_in(&self, sealed: BTreeMap<PathBuf, FileRead>) -> Vec<TenantName> {
        let before = std::mem::replace(&mut self.seen().sealed, sealed.clone());
        let uses = |record: &Record| {
            let folder = Path::new(&record.file).parent().unwrap_or(Path::new(""));
            let sources = SecretSource::all(&record.tenant.spec);
            let mut files = sources.iter().filter_map(SecretSource::beside);
            files.any(|file| {
                let path = folder.join(file);
                before.get(&path) != sealed.get(&path)
            })
        };
        self.state.with_records(|records| {
            let tenants = records.iter().filter(|(_, record)| uses(record));
            tenants.map(|(name, _)| name.clone()).collect()
        })
    }

    /// Judges the last reading again: time has passed.
    pub async fn again(&self, now: u64) -> Taken {
        let _turn = self.turn.lock().await;
        let manifests = self.manifests();
        self.carry_out(&manifests, now).await
    }

    /// What would come of the last reading with some files changed.
    #[must_use]
    pub fn preview(
        &self,
        changes: BTreeMap<String, Option<File>>,
        now: u64,
    ) -> (Manifests, Admission) {
        let mut manifests = Manifests::clone(&self.manifests());
        for (path, file) in changes {
            match file {
                Some(file) => drop(manifests.files.insert(path, Ok(file))),
                None => drop(manifests.files.remove(&path)),
            }
        }
        let missing = self.seen().missing.clone();
        let admission = admit(&self.known(&missing), &manifests, &self.host, now);
        (manifests, admission)
    }

    fn parse(&self, complete: bool, scanned: &BTreeMap<PathBuf, FileRead>) -> Arc<Manifests> {
        let (before, read) = {
            let seen = self.seen();
            (Arc::clone(&seen.manifests), seen.read.clone())
        };
        let mut files = BTreeMap::new();
        let mut now_read = BTreeMap::new();
        for (path, content) in scanned {
            let path = path.to_string_lossy().into_owned();
            let known = (read.get(&path) == Some(content))
                .then(|| before.files.get(&path))
                .flatten();
            let file = known.cloned().unwrap_or_else(|| parse_read(&path, content));
            files.insert(path.clone(), file);
            now_read.insert(path, content.clone());
        }
        let manifests = Arc::new(Manifests { complete, files });
        let mut seen = self.seen();
        seen.manifests = Arc::clone(&manifests);
        seen.read = now_read;
        manifests
    }

    fn known(&self, missing: &BTreeMap<TenantName, u64>) -> Known {
        let tenants = self.state.with_records(|records| {
            let known = |(name, record): (&TenantName, &Record)| {
                let known = KnownTenant {
                    tenant: Arc::new(record.tenant.clone()),
                    file: record.file.clone(),
                    active: record.phase == Phase::Active,
                    runs: run_by(record),
                    missing_since: missing.get(name).copied(),
                };
                (name.clone(), known)
            };
            records.iter().map(known).collect()
        });
        let applications = self.state.applications().into_iter().map(|(name, record)| {
            let application = Arc::new(record.application);
            (
                name,
                KnownApplication {
                    application,
                    file: record.file,
                },
            )
        });
        Known {
            tenants,
            applications: applications.collect(),
        }
    }

    async fn carry_out(&self, manifests: &Manifests, now: u64) -> Taken {
        let missing = self.seen().missing.clone();
        let admission = admit(&self.known(&missing), manifests, &self.host, now);
        let objects = manifests
            .files
            .iter()
            .filter_map(|(path, file)| Some((path.clone(), file.as_ref().ok()?.documents.len())));
        self.status.set_objects(objects.collect());

        let mut taken = Taken {
            recheck_at: admission.recheck_at,
            ..Taken::default()
        };
        let mut failed = BTreeSet::new();
        for (name, verdict) in &admission.applications {
            if let Decision::Accept {
                object,
                file,
                change,
            } = &verdict.decision
                && *change != Change::Same
            {
                match self.accept_application(object, file).await {
                    Ok(()) => taken.changed.extend(self.users_of(name)),
                    Err(error) => drop(failed.insert(format!("application {name}: {error}"))),
                }
            }
        }
        for name in &admission.forget {
            if let Err(error) = self.state.remove_application(name).await {
                failed.insert(format!("application {name}: {error}"));
            }
        }
        let mut results = Vec::new();
        for (name, verdict) in &admission.tenants {
            let result = match &verdict.decision {
                Decision::Accept {
                    object,
                    file,
                    change,
                } if *change != Change::Same || self.is_of_another_source(name) => {
                    self.accept(object, file).await
                }
                Decision::NotPlaced { .. } => self.leave(name, Phase::Retaining).await,
                Decision::Accept { .. } | Decision::Keep => continue,
            };
            results.push((name, result));
        }
        for name in &admission.prune {
            let policy = self.deletion_policy(name);
            tracing::info!(tenant = %name, "{name}: its manifest is gone; it is removed ({policy:?})");
            results.push((name, self.leave(name, policy.into()).await));
        }
        for (name, result) in results {
            // What failed is reported by its pass too, which saves the record
            // when it can.
            taken.changed.insert(name.clone());
            if let Err(error) = result {
                failed.insert(format!("tenant {name}: {error}"));
            }
        }
        self.seen().missing.clone_from(&admission.missing);
        if !failed.is_empty() {
            let retry = now.saturating_add(RETRY);
            taken.recheck_at = Some(taken.recheck_at.map_or(retry, |at| at.min(retry)));
        }
        let problem = self.seen().problem.clone();
        taken.touched = self.reports.make(&admission, problem, failed).await;
        taken
    }

    /// Whether the tenant was accepted from a commit and the folder is none
    /// now, or the other way round.
    fn is_of_another_source(&self, name: &TenantName) -> bool {
        let is_commit = self.revision().is_some();
        self.state.with_records(|records| {
            let record = records.get(name);
            record.is_some_and(|record| record.revision.is_some() != is_commit)
        })
    }

    async fn accept(&self, tenant: &Arc<Tenant>, file: &str) -> anyhow::Result<()> {
        let name = &tenant.metadata.name;
        let revision = self.revision();
        let of = revision
            .as_ref()
            .map(|revision| format!(" of commit {revision}"));
        let of = of.unwrap_or_default();
        let mut reason = Reason::ManifestAccepted;
        if self.state.record(name).is_some() {
            self.state
                .update(name, |record| {
                    record.accept(tenant, file);
                    record.revision = revision;
                })
                .await?;
        } else {
            reason = Reason::Created;
            let mut record = Record::new(Tenant::clone(tenant), file.to_owned());
            record.created = Some(crate::now());
            record.revision = revision;
            self.state.insert(record).await?;
        }
        tracing::info!(tenant = %name, file, "{name}: the manifest in {file}{of} is accepted");
        let note = format!("the manifest in {file}{of} is accepted");
        self.recorder.record(Event::tenant(name, reason, note));
        Ok(())
    }

    async fn accept_application(
        &self,
        application: &Arc<Application>,
        file: &str,
    ) -> anyhow::Result<()> {
        let name = &application.metadata.name;
        let before = self.state.application(name);
        let generation = match &before {
            None => 1,
            Some(before) if before.application.spec == application.spec => before.generation,
            Some(before) => before.generation + 1,
        };
        let mut provenance = before
            .as_ref()
            .map_or_else(Provenance::default, |before| before.provenance.clone());
        if let Some(before) = before.as_ref().filter(|_| !provenance.is_empty()) {
            let json = |of: &Application| serde_json::to_value(of).unwrap_or_default();
            let change = (&json(&before.application), &json(application));
            provenance.changed(Kind::Application, change);
        }
        let created = before
            .and_then(|before| before.created)
            .unwrap_or_else(crate::now);
        let application = Application::clone(application);
        let record = ApplicationRecord {
            application,
            file: file.to_owned(),
            generation,
            created: Some(created),
            provenance,
        };
        self.state.insert_application(record).await?;
        Ok(())
    }

    fn users_of(&self, application: &ObjectName) -> Vec<TenantName> {
        self.state.with_records(|records| {
            let users = records
                .values()
                .filter(|r| r.tenant.spec.application == *application);
            users.map(|record| record.name().clone()).collect()
        })
    }

    /// Has a tenant taken down.
    async fn leave(&self, name: &TenantName, phase: Phase) -> anyhow::Result<()> {
        let change = |record: &mut Record| {
            if record.phase == Phase::Active {
                record.phase = phase;
            }
        };
        self.state.update(name, change).await?;
        Ok(())
    }

    /// Has a tenant removed because a person named it.
    ///
    /// # Errors
    /// The record cannot be written.
    pub async fn delete(&self, name: &TenantName) -> anyhow::Result<()> {
        self.leave(name, self.deletion_policy(name).into()).await
    }

    fn deletion_policy(&self, name: &TenantName) -> DeletionPolicy {
        let record = self.state.record(name);
        record
            .and_then(|record| record.tenant.spec.deletion_policy)
            .unwrap_or(self.host.spec.defaults.deletion_policy)
    }
}

fn parse_read(path: &str, read: &FileRead) -> Result<File, String> {
    match read {
        FileRead::Content(content) => Ok(parse(path, content)),
        FileRead::TooLarge { size } => Err(format!(
            "has {size} bytes; a manifest has at most {}",
            cb_core::yaml::MAX_BYTES
        )),
        FileRead::Failed(problem) => Err(problem.to_string()),
    }
}

/// The folder of manifests with links resolved, for writing in it.
#[must_use]
pub fn real_folder(root: &str) -> PathBuf {
    std::fs::canonicalize(root).unwrap_or_else(|_| PathBuf::from(root))
}
