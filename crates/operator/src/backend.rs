//! The daemon as the API sees it: writes manifests, deletes them, and says what
//! would be done.
//!
//! A write goes to the folder of manifests, is judged as if it were there
//! before it is, and then takes the way of every other manifest.

mod deletion;
mod diff;
mod drift;
mod manifest;
mod operations;
mod plan;
mod rewrite;
mod source;
mod target;
mod usage;
mod wishes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cb_core::api::{Application, Host, Kind, Tenant};
use cb_core::manifest::{AnyObject, Diagnostic, File, parse};
use cb_core::patch::{Provenance, Written};
use cb_core::record::Record;
use cb_core::types::TenantName;
use cb_host::files::{self, FileCache, FileSpec, chain};

use crate::access::Access;
use crate::alerts::Alerts;
use crate::api::object;
use crate::api::{
    Backend, Cause, Outcome, PlanRequest, PlanResponse, Put, PutMode, PutResult, Refusal,
    TenantUsage,
};
use crate::controller::Reason;
use crate::daemon::Daemon;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::rollouts::Rollouts;
use crate::source::Source;
use crate::state::{ApplicationRecord, PublishedTenant, State};
use rewrite::{New, Rewritten};
use target::{Target, find};

/// How long a person waits for a pass.
const PASS_TIMEOUT: Duration = Duration::from_secs(120);

#[async_trait]
impl<H: cb_host::Host + 'static> Backend for Daemon<H> {
    fn state(&self) -> &State {
        &self.engine.state
    }

    fn host(&self) -> &Host {
        &self.engine.spec
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.engine.metrics
    }

    fn recorder(&self) -> &Recorder {
        &self.engine.recorder
    }

    fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    fn source(&self) -> Option<&Source> {
        self.source.get()
    }

    fn access(&self) -> Option<&Access> {
        self.access.get()
    }

    fn alerts(&self) -> Option<&Alerts> {
        self.alerts.get()
    }

    fn ready(&self) -> Result<(), String> {
        if self.is_ready() {
            Ok(())
        } else {
            Err("the manifests were not read yet".into())
        }
    }

    async fn put(&self, put: Put) -> Result<PutResult, Refusal> {
        let _turn = self.writing.lock().await;
        let file = parse(&format!("{}.yaml", put.name), put.text.as_bytes());
        let told = if put.is_text { in_text } else { in_object };
        let object = only_object(&file, told)?;
        if object.kind() != put.kind || object.name() != put.name {
            return Err(Refusal::BadRequest(format!(
                "the text is {} `{}`, but the request is for {} `{}`",
                object.kind(),
                object.name(),
                put.kind,
                put.name
            )));
        }
        let manifests = self.catalog.manifests();
        let target = find(&manifests, put.kind, &put.name)?;
        if put.mode == PutMode::Create && target.current.is_some() {
            return Err(Refusal::AlreadyExists);
        }
        if let Some(based_on) = &put.based_on {
            self.is_still(&target, based_on).await?;
        }
        let outcome = match &target.current {
            None => Outcome::Created,
            Some(current) if *current == object && !self.is_refused(put.kind, &put.name) => {
                Outcome::Unchanged
            }
            Some(_) => Outcome::Configured,
        };
        if outcome == Outcome::Unchanged {
            if !put.dry_run {
                self.remember(target.current.as_ref(), &object, &put.written)
                    .await?;
            }
            return Ok(PutResult {
                outcome,
                object: self.published(&object, &target.path),
            });
        }
        self.alone_in(&target, &put.name)?;
        self.admissible(&target, &target.with(&file), (&object, told))?;
        let new = match put.is_text {
            true => New::Text(put.text),
            false => New::Object(Box::new(object.clone()), put.text),
        };
        let new = self.rewritten(&target, new).await?;
        if !put.dry_run {
            self.write_manifest(&target, &object, new).await?;
            self.look_at_manifests().await;
            self.remember(target.current.as_ref(), &object, &put.written)
                .await?;
        }
        Ok(PutResult {
            outcome,
            object: self.published(&object, &target.path),
        })
    }

    async fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<(), Refusal> {
        let _turn = self.writing.lock().await;
        let manifests = self.catalog.manifests();
        let target = find(&manifests, kind, name)?;
        let tenant = name
            .parse::<TenantName>()
            .ok()
            .filter(|_| kind == Kind::Tenant);
        let known = tenant
            .as_ref()
            .is_some_and(|t| self.state().tenants().get(t).is_some());
        if target.current.is_none() && !target.refused && !known {
            return Err(Refusal::NotFound);
        }
        self.alone_in(&target, name)?;
        if kind == Kind::Application {
            self.unused(name)?;
        }
        if dry_run {
            return match target.shared {
                Some(_) => self.rewritten(&target, New::Gone).await.map(drop),
                None => Ok(()),
            };
        }
        if target.current.is_some() || target.refused {
            self.remove_manifest(&target, kind, name).await?;
        }
        // The reading without the file is judged first: an older one that
        // still has it must not bring the tenant back.
        self.look_at_manifests().await;
        if let Some(tenant) = tenant.filter(|_| known) {
            self.catalog
                .delete(&tenant)
                .await
                .map_err(|error| Refusal::Internal(error.to_string()))?;
            self.controller.changed(tenant, Reason::Manifest);
        }
        if kind == Kind::Application {
            self.forget_application(name).await?;
        }
        Ok(())
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanResponse, Refusal> {
        plan::plan(self, request).await
    }

    async fn reconcile(&self, tenant: &str) -> Result<(), Refusal> {
        let name: TenantName = tenant.parse().map_err(|_| Refusal::NotFound)?;
        if self.state().tenants().get(&name).is_none() {
            return Err(Refusal::NotFound);
        }
        let mut ended = self.ended.subscribe();
        self.controller.urgent(name.clone(), Reason::Requested);
        let wait = async {
            loop {
                match ended.recv().await {
                    Ok(pass)
                        if pass.tenant == name && pass.reasons.contains(&Reason::Requested) =>
                    {
                        return;
                    }
                    // Others, or too many at once: ours may be among the lost.
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        let late = |_| {
            Refusal::Unavailable(format!(
                "the pass did not end within {} s",
                PASS_TIMEOUT.as_secs()
            ))
        };
        tokio::time::timeout(PASS_TIMEOUT, wait).await.map_err(late)
    }

    async fn restart(&self, tenant: &str) -> Result<(), Refusal> {
        self.record_restart(tenant).await?;
        self.reconcile(tenant).await
    }

    async fn usage(&self, processor: bool) -> Vec<TenantUsage> {
        usage::all(self, processor).await
    }
}

impl<H: cb_host::Host + 'static> Daemon<H> {
    fn is_refused(&self, kind: Kind, name: &str) -> bool {
        let name = name
            .parse::<TenantName>()
            .ok()
            .filter(|_| kind == Kind::Tenant);
        name.is_some_and(|name| !self.state().refused(&name).is_empty())
    }

    /// Refuses a change that was made of something else than the manifest says
    /// now.
    async fn is_still(&self, target: &Target, based_on: &serde_json::Value) -> Result<(), Refusal> {
        match &target.current {
            Some(current) if object::written(current) == *based_on => Ok(()),
            None if target.refused => Err(Refusal::Conflict(format!(
                "{} has errors; put that file right first",
                target.path
            ))),
            _ => {
                // Whoever asks again sees what is there.
                self.look_at_manifests().await;
                Err(Refusal::Stale)
            }
        }
    }

    /// Remembers who wrote what, beside the record: a write that is not taken
    /// in, for example because of a change right after it, has no author.
    async fn remember(
        &self,
        before: Option<&AnyObject>,
        object: &AnyObject,
        written: &Written,
    ) -> Result<(), Refusal> {
        let failed = |error: crate::state::SaveError| Refusal::Internal(error.to_string());
        let old = before.map_or(serde_json::Value::Null, object::written);
        let (new, now) = (object::written(object), crate::now());
        let kind = object.kind();
        let note = |provenance: &mut Provenance| {
            provenance.write(kind, (&old, &new), written, &now);
        };
        match object {
            AnyObject::Tenant(tenant) => {
                let is_it = |record: &Record| record.tenant == **tenant;
                let change = |record: &mut Record| {
                    if is_it(record) {
                        note(&mut record.provenance);
                    }
                };
                let name = &tenant.metadata.name;
                self.state().update(name, change).await.map_err(failed)?;
            }
            AnyObject::Application(application) => {
                let known = self.state().application(&application.metadata.name);
                let Some(mut record) = known.filter(|known| known.application == **application)
                else {
                    return Ok(());
                };
                let before = record.clone();
                note(&mut record.provenance);
                if record != before {
                    let saved = self.state().insert_application(record).await;
                    saved.map_err(failed)?;
                }
            }
            AnyObject::Host(_) => {}
        }
        Ok(())
    }

    async fn rewritten(&self, target: &Target, new: New) -> Result<Rewritten, Refusal> {
        // A text for a file of its own is written as it is.
        if let (New::Text(after), None) = (&new, &target.shared) {
            return Ok(Rewritten {
                before: None,
                after: after.clone(),
            });
        }
        let (root, target) = (self.manifests.clone(), target.clone());
        let work = move || rewrite::kept(&root, &target, &new);
        tokio::task::spawn_blocking(work).await.map_err(internal)?
    }

    /// The object as the store has it, with the manifest's text in it: what a
    /// dry run would make of it.
    fn published(&self, object: &AnyObject, file: &str) -> serde_json::Value {
        let state = self.state();
        match object {
            AnyObject::Tenant(tenant) => {
                let known = state.tenants().get(&tenant.metadata.name);
                let revision = known.as_ref().map_or(0, |known| known.revision);
                let mut shown = known.map_or_else(
                    || PublishedTenant {
                        tenant: Tenant::clone(tenant),
                        file: file.to_owned(),
                        generation: 1,
                        created: None,
                        deleting: false,
                        provenance: Provenance::default(),
                    },
                    |known| PublishedTenant::clone(&known.value),
                );
                shown.tenant = Tenant {
                    status: shown.tenant.status,
                    ..Tenant::clone(tenant)
                };
                object::tenant(&shown, revision)
            }
            AnyObject::Application(application) => {
                let known = state
                    .published_applications()
                    .get(&application.metadata.name);
                let revision = known.as_ref().map_or(0, |known| known.revision);
                let generation = known.as_ref().map_or(1, |known| known.value.generation);
                let provenance = known
                    .as_ref()
                    .map_or_else(Provenance::default, |known| known.value.provenance.clone());
                let created = known.and_then(|known| known.value.created.clone());
                let application = Application::clone(application);
                let record = ApplicationRecord {
                    application,
                    file: file.to_owned(),
                    generation,
                    created,
                    provenance,
                };
                object::application(&record, revision)
            }
            AnyObject::Host(host) => object::host(host, 0),
        }
    }

    /// Refuses what admission would refuse.
    fn admissible(
        &self,
        target: &Target,
        file: &File,
        (object, told): (&AnyObject, Told),
    ) -> Result<(), Refusal> {
        let changes = BTreeMap::from([(target.path.clone(), Some(file.clone()))]);
        let (_, admission) = self.catalog.preview(changes, self.now_ms());
        let refused = match object {
            AnyObject::Tenant(tenant) => admission
                .tenants
                .get(&tenant.metadata.name)
                .map(|verdict| &verdict.refused),
            AnyObject::Application(application) => admission
                .applications
                .get(&application.metadata.name)
                .map(|verdict| &verdict.refused),
            AnyObject::Host(_) => None,
        };
        match refused {
            Some(refused) if !refused.is_empty() => Err(invalid(refused, told)),
            _ => Ok(()),
        }
    }

    async fn write_manifest(
        &self,
        target: &Target,
        object: &AnyObject,
        new: Rewritten,
    ) -> Result<(), Refusal> {
        if let Some(source) = self.source.get() {
            let wish = source::Wish::write(&target.path, object, new);
            return self.commit(source, wish).await;
        }
        let path = self.manifests.join(&target.path);
        let replace = target.current.is_some() || target.refused;
        let work = move || -> Result<(), Refusal> {
            let before = std::fs::symlink_metadata(&path);
            let spec = match &before {
                Ok(_) if !replace => {
                    let message = format!(
                        "{} exists and is something else; move it away",
                        path.display()
                    );
                    return Err(Refusal::Conflict(message));
                }
                Ok(before) => same_owner(before),
                Err(_) => FileSpec::own(0o644),
            };
            if let Some(before) = &new.before {
                let now = FileCache::content(&path);
                if now.map_err(|error| Refusal::Internal(chain(&error)))? != *before {
                    return Err(Refusal::Stale);
                }
            }
            files::write(&path, new.after.as_bytes(), spec)
                .map_err(|error| Refusal::Internal(chain(&error)))
        };
        tokio::task::spawn_blocking(work).await.map_err(internal)?
    }
}

fn same_owner(before: &std::fs::Metadata) -> FileSpec {
    use std::os::unix::fs::MetadataExt as _;
    FileSpec {
        mode: before.mode() & 0o777,
        uid: before.uid(),
        gid: before.gid(),
    }
}

/// How a diagnostic is told to whoever made a change.
type Told = fn(&Diagnostic) -> String;

/// With the place in the text that was sent.
fn in_text(diagnostic: &Diagnostic) -> String {
    diagnostic.to_string()
}

/// Without one: the client has no text with lines.
fn in_object(diagnostic: &Diagnostic) -> String {
    match &diagnostic.hint {
        Some(hint) => format!("{} ({hint})", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}

fn only_object(file: &File, told: Told) -> Result<AnyObject, Refusal> {
    if !file.errors.is_empty() {
        return Err(invalid(&file.errors, told));
    }
    match file.documents.as_slice() {
        [document] => {
            let object = document.object.clone();
            object.ok_or_else(|| invalid(&file.errors, told))
        }
        documents => {
            let message = format!(
                "the text must have one object, but it has {}",
                documents.len()
            );
            Err(Refusal::BadRequest(message))
        }
    }
}

fn invalid(diagnostics: &[Diagnostic], told: Told) -> Refusal {
    let cause = |diagnostic: &Diagnostic| Cause {
        field: diagnostic.path.to_string(),
        message: told(diagnostic),
    };
    Refusal::Invalid(diagnostics.iter().map(cause).collect())
}

fn internal(error: tokio::task::JoinError) -> Refusal {
    Refusal::Internal(error.to_string())
}

/// The file of a new object.
fn new_path(kind: Kind, name: &str) -> PathBuf {
    match kind {
        Kind::Tenant => PathBuf::from(format!("{name}.yaml")),
        kind => PathBuf::from(format!("{}-{name}.yaml", kind.singular())),
    }
}
