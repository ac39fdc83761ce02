//! Takes readings of the folder of manifests into the state.
//!
//! What a reading means is decided by `cb_core::admission`; here it is carried
//! out: records are written, passes are woken, refusals are reported where a
//! person looks. A reading is always judged whole, so nothing depends on
//! having seen the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::admission::{
    Admission, Change, Decision, Known, KnownApplication, KnownTenant, Scan as Manifests, admit,
};
use cb_core::api::{Application, Host, Kind, Tenant};
use cb_core::event::{Event, Reason};
use cb_core::manifest::{Diagnostic, File, parse};
use cb_core::patch::Provenance;
use cb_core::record::{Phase, Record};
use cb_core::releases::run_by;
use cb_core::secret::SecretSource;
use cb_core::types::{ObjectName, TenantName, is_sealed_file};
use cb_runtime::{FileRead, Filter, Scan};

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
/// What alerts say is not as it should be.
const MANIFESTS: &str = "ManifestsAccepted";

/// Takes readings into the state.
pub struct Catalog {
    state: Arc<State>,
    host: Arc<Host>,
    status: Arc<StatusFiles>,
    recorder: Recorder,
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
    /// The manifests that never became tenants and have a status file.
    refused: Refused,
    /// What was reported of files without a tenant, and of pruning.
    reported: BTreeSet<String>,
}

/// Manifests that never became tenants.
#[derive(Clone, Default)]
struct Refused {
    /// Files that no tenant is known from.
    files: BTreeSet<String>,
    /// Tenants, with their files.
    tenants: BTreeMap<TenantName, String>,
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

    fn revision(&self) -> Option<String> {
        let now = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// What was accepted so far.
    #[must_use]
    pub fn known_now(&self) -> Known {
        let missing = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.missing.clone()
        };
        self.known(&missing)
    }

    /// The last reading, parsed.
    #[must_use]
    pub fn manifests(&self) -> Arc<Manifests> {
        Arc::clone(
            &self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .manifests,
        )
    }

    /// Judges a reading and carries it out. One that is older than the last is
    /// left: what it says may have been undone by a person's explicit word.
    pub async fn take(&self, scan: &Scan, now: u64) -> Taken {
        let _turn = self.turn.lock().await;
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
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
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut seen.sealed, sealed.clone())
        };
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
        let missing = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .missing
            .clone();
        let admission = admit(&self.known(&missing), &manifests, &self.host, now);
        (manifests, admission)
    }

    fn parse(&self, complete: bool, scanned: &BTreeMap<PathBuf, FileRead>) -> Arc<Manifests> {
        let (before, read) = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
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
        let missing = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .missing
            .clone();
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
            match result {
                Ok(()) => drop(taken.changed.insert(name.clone())),
                Err(error) => {
                    // Its pass reports this, and saves the record when it can.
                    taken.changed.insert(name.clone());
                    failed.insert(format!("tenant {name}: {error}"));
                }
            }
        }
        for name in &admission.prune {
            let policy = self
                .state
                .record(name)
                .and_then(|record| record.tenant.spec.deletion_policy);
            let policy = policy.unwrap_or(self.host.spec.defaults.deletion_policy);
            tracing::info!(tenant = %name, "{name}: its manifest is gone; it is removed ({policy:?})");
            match self.leave(name, policy.into()).await {
                Ok(()) => drop(taken.changed.insert(name.clone())),
                Err(error) => {
                    // Its pass reports this, and saves the record when it can.
                    taken.changed.insert(name.clone());
                    failed.insert(format!("tenant {name}: {error}"));
                }
            }
        }
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .missing
            .clone_from(&admission.missing);
        taken.touched = self.refusals(&admission);
        if !failed.is_empty() {
            let retry = now.saturating_add(RETRY);
            taken.recheck_at = Some(taken.recheck_at.map_or(retry, |at| at.min(retry)));
        }
        self.report_rest(&admission, failed).await;
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
        let policy = self
            .state
            .record(name)
            .and_then(|record| record.tenant.spec.deletion_policy);
        self.leave(
            name,
            policy
                .unwrap_or(self.host.spec.defaults.deletion_policy)
                .into(),
        )
        .await
    }

    /// Notes why tenants' newest manifests do not take effect.
    fn refusals(&self, admission: &Admission) -> BTreeSet<TenantName> {
        let refused = admission
            .tenants
            .iter()
            .filter(|(_, verdict)| !verdict.refused.is_empty());
        let refused = refused.map(|(name, verdict)| (name.clone(), lines(&verdict.refused)));
        self.state.set_refused(refused.collect())
    }

    /// Reports what is not in the status of a tenant: in the log, once, and in
    /// status files of manifests that never became tenants.
    async fn report_rest(&self, admission: &Admission, failed: BTreeSet<String>) {
        let mut words = failed;
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend(seen.problem.clone());
        }
        words.extend(admission.blocked.iter().map(ToString::to_string));
        for diagnostics in admission.files.values() {
            words.extend(lines(diagnostics));
        }
        for verdict in admission.applications.values() {
            words.extend(lines(&verdict.refused));
            words.extend(lines(&verdict.warnings));
        }
        for verdict in admission.tenants.values() {
            words.extend(lines(&verdict.refused));
            words.extend(lines(&verdict.warnings));
        }
        let wrong = self.host_problems(admission);
        self.state.set_host_problems(MANIFESTS, wrong);
        for event in self.events(admission) {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.reported.contains(&event.note) {
                self.recorder.record(event);
            }
        }
        self.report(words);
        self.report_never_accepted(admission).await;
    }

    /// What is wrong with the manifests and in the status of no tenant.
    fn host_problems(&self, admission: &Admission) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            wrong.extend(seen.problem.clone().map(|words| ("FolderNotRead", words)));
        }
        if let Some(blocked) = &admission.blocked {
            wrong.push((Reason::MassDisappearance.as_str(), blocked.to_string()));
        }
        let of_applications = admission.applications.values();
        let refused = admission
            .files
            .values()
            .chain(of_applications.map(|verdict| &verdict.refused))
            .flat_map(|found| lines(found));
        let never_accepted = admission
            .tenants
            .iter()
            .filter(|(name, _)| self.state.record(name).is_none())
            .flat_map(|(_, verdict)| lines(&verdict.refused));
        let refused = refused.chain(never_accepted);
        wrong.extend(refused.map(|line| (Reason::ManifestRefused.as_str(), line)));
        wrong
    }

    /// What is not accepted and not removed, as events: each is a word of the
    /// report too.
    fn events(&self, admission: &Admission) -> Vec<Event> {
        let host = self.host.metadata.name.as_str();
        let refused = Reason::ManifestRefused;
        let mut events = Vec::new();
        if let Some(blocked) = &admission.blocked {
            let note = blocked.to_string();
            events.push(Event::new(
                Kind::Host,
                host,
                Reason::MassDisappearance,
                note,
            ));
        }
        for line in admission.files.values().flat_map(|found| lines(found)) {
            events.push(Event::new(Kind::Host, host, refused, line));
        }
        for (name, verdict) in &admission.applications {
            let lines = lines(&verdict.refused).into_iter();
            events.extend(
                lines.map(|line| Event::new(Kind::Application, name.as_str(), refused, line)),
            );
        }
        for (name, verdict) in &admission.tenants {
            let lines = lines(&verdict.refused).into_iter();
            events.extend(lines.map(|line| Event::tenant(name, refused, line)));
        }
        events
    }

    async fn report_never_accepted(&self, admission: &Admission) {
        let mut refused = Refused::default();
        for (file, diagnostics) in &admission.files {
            let message = lines(diagnostics).join("; ");
            self.status.write_refused_file(file, &message).await;
            refused.files.insert(file.clone());
        }
        for (name, verdict) in &admission.tenants {
            if let Some(first) = verdict.refused.first()
                && self.state.record(name).is_none()
            {
                let message = lines(&verdict.refused).join("; ");
                let file = first.file.clone();
                self.status
                    .write_refused(name.as_str(), &file, &message)
                    .await;
                refused.tenants.insert(name.clone(), file);
            }
        }
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut seen.refused, refused.clone())
        };
        for file in before.files.difference(&refused.files) {
            self.status.remove_file(file).await;
        }
        for (name, file) in before.tenants {
            // A tenant that was accepted now has a status of its own.
            if !refused.tenants.contains_key(&name) && self.state.record(&name).is_none() {
                self.status.remove_named(name.as_str(), &file).await;
            }
        }
    }

    fn report(&self, words: BTreeSet<String>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for word in words.difference(&seen.reported) {
            tracing::warn!("{word}");
        }
        seen.reported = words;
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

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// The folder of manifests with links resolved, for writing in it.
#[must_use]
pub fn real_folder(root: &str) -> PathBuf {
    std::fs::canonicalize(root).unwrap_or_else(|_| PathBuf::from(root))
}
