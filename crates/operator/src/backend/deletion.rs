//! Deleting an object: what may not go, and what goes with it.

use cb_core::api::Kind;
use cb_core::releases::needed_by;
use cb_core::types::ObjectName;
use cb_host::files::{self, chain};

use super::rewrite::New;
use super::target::{Target, find};
use super::{internal, source};
use crate::api::Refusal;
use crate::daemon::Daemon;

impl<H: cb_host::Host + 'static> Daemon<H> {
    pub(super) async fn remove_manifest(
        &self,
        target: &Target,
        kind: Kind,
        name: &str,
    ) -> Result<(), Refusal> {
        if let (Some(_), Some(object)) = (&target.shared, &target.current) {
            let new = self.rewritten(target, New::Gone).await?;
            if let Some(source) = self.source.get() {
                let wish = source::Wish::take_out(&target.path, object, new);
                return self.commit(source, wish).await;
            }
            return self.write_manifest(target, object, new).await;
        }
        if let Some(source) = self.source.get() {
            let wish = source::Wish::remove(&target.path, kind, name);
            return self.commit(source, wish).await;
        }
        let path = self.manifests.join(&target.path);
        let removed = tokio::task::spawn_blocking(move || files::remove(&path)).await;
        removed
            .map_err(internal)?
            .map(drop)
            .map_err(|error| Refusal::Internal(chain(&error)))
    }

    /// A file that nothing can be read from may be the home of others too; they
    /// would be gone with it (law 2).
    pub(super) fn alone_in(&self, target: &Target, name: &str) -> Result<(), Refusal> {
        if !target.refused {
            return Ok(());
        }
        let other = self.engine.state.with_records(|records| {
            let mut others = records.values().filter(|record| {
                record.phase == cb_core::record::Phase::Active
                    && record.file == target.path
                    && record.name().as_str() != name
            });
            others.next().map(|record| record.name().clone())
        });
        match other {
            None => Ok(()),
            Some(other) => Err(Refusal::Conflict(format!(
                "{} has errors and was last accepted with tenant `{other}` in it; put that file right first",
                target.path
            ))),
        }
    }

    /// No tenant is left without its Application.
    pub(super) fn unused(&self, application: &str) -> Result<(), Refusal> {
        let Ok(application) = application.parse::<ObjectName>() else {
            return Err(Refusal::NotFound);
        };
        let users: Vec<String> = self.engine.state.with_records(|records| {
            let users = records.values().filter(|record| {
                record.phase == cb_core::record::Phase::Active
                    && record.tenant.spec.application == application
            });
            users.map(|record| record.name().to_string()).collect()
        });
        if users.is_empty() {
            return Ok(());
        }
        Err(Refusal::Conflict(format!(
            "application `{application}` is used by tenants {}; delete them first",
            users.join(", ")
        )))
    }

    /// An Application that was deleted by name is gone, also if the folder is
    /// empty without it: by itself an empty folder removes nothing, as it may be
    /// one that is not mounted.
    pub(super) async fn forget_application(&self, name: &str) -> Result<(), Refusal> {
        let Ok(application) = name.parse::<ObjectName>() else {
            return Ok(());
        };
        let target = find(&self.catalog.manifests(), Kind::Application, name)?;
        let is_needed = self.engine.state.with_records(|records| {
            let needed = records.values().flat_map(needed_by);
            needed.into_iter().any(|id| id.application == application)
        });
        let is_known = self.engine.state.application(&application).is_some();
        if target.current.is_none() && !target.refused && is_known && !is_needed {
            let removed = self.engine.state.remove_application(&application).await;
            removed.map_err(|error| Refusal::Internal(error.to_string()))?;
        }
        Ok(())
    }
}
