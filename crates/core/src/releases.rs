//! Which releases a host needs, and which it may remove.
//!
//! Releases are shared, so no tenant removes one: [`surplus`] says from all
//! that is known which ones nobody can come to need without installing them
//! again. Removing is the host's work, and safe even then: a release that is
//! missing is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::api::{Application, TenantSpec};
use crate::backup::Backup;
use crate::operation::Wish;
use crate::record::Record;
use crate::types::{ObjectName, Version};

/// A version of an Application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseId {
    /// The Application.
    pub application: ObjectName,
    /// The version.
    pub version: Version,
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.application, self.version)
    }
}

impl ReleaseId {
    /// What a tenant with this spec runs.
    #[must_use]
    pub fn of(spec: &TenantSpec) -> Self {
        Self {
            application: spec.application.clone(),
            version: spec.version.clone(),
        }
    }

    /// All that an Application lists.
    pub fn listed(application: &Application) -> impl Iterator<Item = Self> + '_ {
        let versions = application.spec.versions.iter();
        versions.map(|source| Self {
            application: application.metadata.name.clone(),
            version: source.name.clone(),
        })
    }
}

/// A release that is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Which one it is.
    pub id: ReleaseId,
    /// When it was installed.
    pub at: Timestamp,
}

/// What a tenant runs, or may have to go back to, besides what its manifest
/// asks for.
#[must_use]
pub fn run_by(record: &Record) -> BTreeSet<ReleaseId> {
    let operation = record.operation.as_ref();
    let from = operation.and_then(|operation| operation.from.as_deref());
    let to = operation.map(|operation| &*operation.to);
    let specs = record.deployed.as_deref().into_iter().chain(from).chain(to);
    specs.map(ReleaseId::of).collect()
}

/// All that a tenant needs: what it runs, is to run, was asked to run, or
/// failed to (a retry is one command away).
#[must_use]
pub fn needed_by(record: &Record) -> BTreeSet<ReleaseId> {
    let mut out = run_by(record);
    let wanted = &record.tenant.spec;
    out.insert(ReleaseId::of(wanted));
    out.extend(
        record
            .failed
            .iter()
            .map(|failed| ReleaseId::of(&failed.spec)),
    );
    if let Some(Wish::Upgrade { version, .. }) = record.request.as_ref().map(|r| &r.wish) {
        out.insert(ReleaseId {
            application: wanted.application.clone(),
            version: version.clone(),
        });
    }
    out
}

/// What the restore of a backup brings back.
#[must_use]
pub fn needed_by_backup(backup: &Backup) -> BTreeSet<ReleaseId> {
    let ran = ReleaseId {
        application: backup.application.clone(),
        version: backup.version.clone(),
    };
    BTreeSet::from([ran, ReleaseId::of(&backup.spec)])
}

/// The releases to remove, in the order in which they go: of each Application
/// all that are not needed but the `keep` newest. One that the Application no
/// longer lists is not among the newest while there is one that it lists.
#[must_use]
pub fn surplus(
    installed: &[Installed],
    needed: &BTreeSet<ReleaseId>,
    listed: &BTreeSet<ReleaseId>,
    keep: usize,
) -> Vec<ReleaseId> {
    let mut unused: BTreeMap<&ObjectName, Vec<&Installed>> = BTreeMap::new();
    for release in installed
        .iter()
        .filter(|release| !needed.contains(&release.id))
    {
        let of_application = unused.entry(&release.id.application).or_default();
        of_application.push(release);
    }
    let mut out = Vec::new();
    for releases in unused.values_mut() {
        // The version decides between two of the same moment, so that the
        // answer depends on nothing else.
        releases.sort_by_key(|release| (listed.contains(&release.id), release.at, &release.id));
        let gone = releases.len().saturating_sub(keep);
        out.extend(releases.iter().take(gone).map(|release| release.id.clone()));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(application: &str, version: &str) -> ReleaseId {
        ReleaseId {
            application: application.parse().unwrap(),
            version: version.parse().unwrap(),
        }
    }

    fn installed(version: &str, second: i64) -> Installed {
        Installed {
            id: id("cbapp", version),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    fn record(text: &str) -> Record {
        let tenant = "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: ky04}, spec: {application: cbapp, version: v3}}";
        serde_yaml::from_str(&format!(
            "{{tenant: {tenant}, file: ky04.yaml, generation: 1, {text}}}"
        ))
        .unwrap()
    }

    fn versions(ids: impl IntoIterator<Item = ReleaseId>) -> Vec<String> {
        let versions = ids.into_iter().map(|id| id.version.to_string());
        versions.collect()
    }

    #[test]
    fn a_tenant_needs_all_that_it_may_come_to_run() {
        let spec = |version: &str| format!("{{application: cbapp, version: {version}}}");
        let text = format!(
            "deployed: {}, failed: {{spec: {}, failure: {{phase: Migrating, reason: X, message: x}}}}, \
             request: {{at: '', wish: !upgrade {{version: v9, backup: true, migrate: true}}}}, \
             operation: {{id: '1', kind: Upgrade, from: {}, to: {}, backup: true, migrate: true, wasHealthy: true, \
             phase: Preparing, phases: [], started: ''}}",
            spec("v1"),
            spec("v4"),
            spec("v5"),
            spec("v6")
        );
        let record = record(&text);
        assert_eq!(versions(run_by(&record)), ["v1", "v5", "v6"]);
        let needed = versions(needed_by(&record));
        assert_eq!(needed, ["v1", "v3", "v4", "v5", "v6", "v9"]);
    }

    #[test]
    fn the_newest_unused_ones_stay_and_unlisted_ones_go_first() {
        let all = [
            installed("v1", 1),
            installed("v2", 2),
            installed("v3", 3),
            installed("v4", 4),
        ];
        let listed: BTreeSet<_> = ["v1", "v2", "v3"].map(|v| id("cbapp", v)).into();
        let needed = BTreeSet::from([id("cbapp", "v2")]);
        let gone = |keep| versions(surplus(&all, &needed, &listed, keep));
        assert_eq!(gone(0), ["v4", "v1", "v3"]);
        assert_eq!(gone(1), ["v4", "v1"]);
        assert_eq!(gone(2), ["v4"]);
        assert_eq!(gone(3), [""; 0]);
    }

    proptest! {
        /// Nothing that is needed goes, exactly `keep` of the rest of each
        /// Application stay, and a second look removes nothing more.
        #[test]
        fn what_is_needed_stays_and_the_rest_is_bounded(
            all in prop::collection::btree_map((0_u8..3, 0_u8..12), (0_i64..5, any::<bool>(), any::<bool>()), 0..36),
            keep in 0_usize..4,
        ) {
            let name = |(application, version): &(u8, u8)| id(&format!("a{application}"), &format!("v{version}"));
            let installed: Vec<Installed> = all.iter().map(|(key, (second, ..))| Installed {
                id: name(key),
                at: Timestamp::from_second(*second).unwrap(),
            }).collect();
            let needed: BTreeSet<_> = all.iter().filter(|(_, v)| v.1).map(|(key, _)| name(key)).collect();
            let listed: BTreeSet<_> = all.iter().filter(|(_, v)| v.2).map(|(key, _)| name(key)).collect();
            let gone: BTreeSet<_> = surplus(&installed, &needed, &listed, keep).into_iter().collect();
            prop_assert!(gone.is_disjoint(&needed));
            for application in 0..3_u8 {
                let of = |id: &&ReleaseId| id.application.as_str() == format!("a{application}");
                let unused = installed.iter().map(|r| &r.id).filter(of).filter(|id| !needed.contains(id));
                let (went, stayed): (Vec<_>, Vec<_>) = unused.partition(|id| gone.contains(*id));
                prop_assert_eq!(stayed.len(), keep.min(stayed.len() + went.len()));
                let unlisted_stays = stayed.iter().any(|id| !listed.contains(*id));
                prop_assert!(!unlisted_stays || went.iter().all(|id| !listed.contains(*id)));
            }
            let left: Vec<_> = installed.into_iter().filter(|r| !gone.contains(&r.id)).collect();
            prop_assert!(surplus(&left, &needed, &listed, keep).is_empty());
        }
    }
}
