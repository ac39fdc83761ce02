//! Removes releases that nobody needs, a while after passes ended.
//!
//! Which ones is decided by `cb_core::releases` from all that is known: the
//! records, the backups, and the managed units, which still say what runs if a
//! record is lost. If anything of it cannot be read, nothing is removed. A
//! look is due only when a pass has ended that changed something, or an hour
//! after the last one, and at most once a minute.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cb_core::api::Host;
use cb_core::layout::Layout;
use cb_core::releases::{Installed, ReleaseId, needed_by, needed_by_backup, surplus};
use cb_core::types::Version;
use cb_host::SystemHost;
use cb_host::files::{FileError, chain};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::controller::Ended;
use crate::recover;
use crate::state::State;

/// How long after a pass a look is due: others end with it.
const SETTLE: Duration = Duration::from_secs(5);
/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(60);
/// The time after which a look is due although nothing that is published of
/// tenants and Applications has changed.
const ANYWAY: Duration = Duration::from_secs(3600);

/// Removes releases that nobody needs.
pub struct ReleaseGc {
    /// Has the releases.
    pub host: Arc<SystemHost>,
    /// Its manifest.
    pub spec: Arc<Host>,
    /// Has the records.
    pub state: Arc<State>,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read the units in {folder}")]
    Units {
        folder: String,
        source: std::io::Error,
    },
}

impl ReleaseGc {
    /// Looks after passes as long as any can end.
    pub async fn run(self, mut ended: Receiver<Ended>) {
        let mut said = None;
        let mut not_before = Instant::now();
        let mut looked_at = None;
        loop {
            match ended.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            tokio::time::sleep_until(not_before.max(Instant::now() + SETTLE)).await;
            // What ended meanwhile is seen by this look.
            ended = ended.resubscribe();
            let now = self.revisions();
            if looked_at
                .is_some_and(|(at, seen): (Instant, _)| seen == now && at.elapsed() < ANYWAY)
            {
                continue;
            }
            let trouble = self.sweep().await.err().map(|error| chain(&error));
            if trouble != said
                && let Some(trouble) = &trouble
            {
                tracing::warn!("no unused release is removed: {trouble}");
            }
            looked_at = trouble.is_none().then(|| (Instant::now(), now));
            said = trouble;
            not_before = Instant::now() + PERIOD;
        }
    }

    /// Numbers that grow with each change of what is published.
    fn revisions(&self) -> [u64; 2] {
        let state = &self.state;
        [
            state.tenants().revision(),
            state.published_applications().revision(),
        ]
    }

    /// One look, and the removal of what it finds.
    async fn sweep(&self) -> Result<(), SweepError> {
        let layout = Layout::new(&self.spec.spec);
        let installed = cb_host::releases::installed(&layout.releases())?;
        let mut needed = self.needed_by_records();
        // Many small files, of units and of backups: read only if it depends on
        // them.
        if self.surplus(&installed, &needed).is_empty() {
            return Ok(());
        }
        needed.extend(self.run_by_units(&installed)?);
        if self.surplus(&installed, &needed).is_empty() {
            return Ok(());
        }
        let host = Arc::clone(&self.host);
        let backups = tokio::task::spawn_blocking(move || host.all_backups()).await;
        let backups = backups.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        needed.extend(backups?.iter().flat_map(needed_by_backup));
        for release in self.surplus(&installed, &needed) {
            let path = layout.release(&release.application, &release.version);
            let unneeded = || !self.needed_by_records().contains(&release);
            if self.host.releases().remove(&path, unneeded).await? {
                tracing::info!("release {release} is removed: nobody needs it");
            }
        }
        Ok(())
    }

    fn surplus(&self, installed: &[Installed], needed: &BTreeSet<ReleaseId>) -> Vec<ReleaseId> {
        let applications = self.state.applications();
        let listed = applications.values();
        let listed = listed.flat_map(|record| ReleaseId::listed(&record.application));
        let keep = usize::from(self.spec.spec.releases.keep);
        surplus(installed, needed, &listed.collect(), keep)
    }

    fn needed_by_records(&self) -> BTreeSet<ReleaseId> {
        self.state
            .with_records(|records| records.values().flat_map(needed_by).collect())
    }

    /// The releases of the versions that units run. A unit does not say of
    /// which Application, so those of all are.
    fn run_by_units(&self, installed: &[Installed]) -> Result<Vec<ReleaseId>, SweepError> {
        let folder = self.spec.spec.paths.units.as_str();
        let units = recover::units(Path::new(folder)).map_err(|source| SweepError::Units {
            folder: folder.to_owned(),
            source,
        })?;
        let versions: BTreeSet<&Version> = units.versions.values().collect();
        let run = installed.iter().map(|release| &release.id);
        let run = run.filter(|id| versions.contains(&id.version));
        Ok(run.cloned().collect())
    }
}
