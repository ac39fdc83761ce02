use super::*;
use crate::record::Record;

fn record() -> Record {
    let tenant = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: ky04}, \
         spec: {application: cbapp, version: v1}}",
    );
    Record::new(tenant.unwrap(), "ky04.yaml".into())
}

fn status(problems: &[Problem], previous: Option<&TenantStatus>, now: &str) -> TenantStatus {
    copying(&Copying::Nowhere, problems, previous, now)
}

fn copying(
    copying: &Copying,
    problems: &[Problem],
    previous: Option<&TenantStatus>,
    now: &str,
) -> TenantStatus {
    TenantStatus::of(Pass {
        copying,
        record: &record(),
        desired: None,
        plan: &Plan::default(),
        observed: &Observed::default(),
        health: &BTreeMap::new(),
        problems,
        certificate: None,
        previous,
        now,
    })
}

fn kinds(status: &TenantStatus) -> Vec<(&str, &str)> {
    status
        .conditions
        .iter()
        .map(|c| (c.kind.as_str(), c.status.as_str()))
        .collect()
}

/// Law 8: a status that means the same is the same.
#[test]
fn time_alone_changes_nothing() {
    let first = status(&[], None, "2026-01-01T00:00:00Z");
    assert!(first.is_ready());
    assert_eq!(status(&[], Some(&first), "2026-01-02T00:00:00Z"), first);
    let problem = [Problem::new(
        Facet::Proxy,
        ProblemReason::SiteRejected,
        "nginx says no",
    )];
    let second = status(&problem, Some(&first), "2026-01-03T00:00:00Z");
    let time =
        |s: &TenantStatus, kind: &str| s.condition(kind).unwrap().last_transition_time.clone();
    assert_eq!(time(&second, "ProxyReady"), "2026-01-03T00:00:00Z");
    assert_eq!(time(&second, "ServicesReady"), "2026-01-01T00:00:00Z");
}

#[test]
fn problems_become_conditions_that_kstatus_reads() {
    let passing = Problem::passing(Facet::Services, ProblemReason::Starting, "api starts");
    let stuck = Problem::new(Facet::Proxy, ProblemReason::SiteRejected, "nginx says no");
    let reconciling = status(std::slice::from_ref(&passing), None, "now");
    assert_eq!(
        kinds(&reconciling)[..2],
        [("Ready", "False"), ("Reconciling", "True")]
    );
    let stalled = status(&[passing, stuck], None, "now");
    assert_eq!(
        kinds(&stalled)[..2],
        [("Ready", "False"), ("Stalled", "True")]
    );
    assert_eq!(stalled.condition("Ready").unwrap().message, "nginx says no");
}

/// Law 8: what is being removed is not ready, whatever it was before.
#[test]
fn a_tenant_that_is_removed_is_not_ready() {
    let before = status(&[], None, "2026-01-01T00:00:00Z");
    let removing = |problems: &[Problem]| {
        TenantStatus::removing(&record(), problems, Some(&before), "2026-01-02T00:00:00Z")
    };
    assert_eq!(
        kinds(&removing(&[])),
        [("Ready", "False"), ("Reconciling", "True")]
    );
    let problem = Problem::new(
        Facet::Services,
        ProblemReason::Failed,
        "no place for backups",
    );
    let stuck = removing(&[problem]);
    assert_eq!(kinds(&stuck), [("Ready", "False"), ("Stalled", "True")]);
    let message = &stuck.condition("Stalled").unwrap().message;
    assert!(message.ends_with("; no place for backups"), "{message}");
}

/// Law 8: what is not known after a restart changes nothing, and a backup
/// without a copy keeps no tenant from being ready.
#[test]
fn copies_have_a_condition_where_there_are_any() {
    let kind = "BackupsCopied";
    let (first, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let nowhere = status(&[], None, first);
    assert!(nowhere.condition(kind).is_none());
    let failed = Copying::Failed("the folder /mnt is away".into());
    let failed = copying(&failed, &[], Some(&nowhere), first);
    let told = failed.condition(kind).unwrap();
    assert_eq!(told.message, "the folder /mnt is away");
    assert_eq!(
        (told.status, told.reason.as_str(), failed.is_ready()),
        (ConditionStatus::False, "NotCopied", true)
    );
    let unknown = copying(&Copying::Unknown, &[], Some(&failed), later);
    assert_eq!(unknown, failed);
    let done = copying(&Copying::Done, &[], Some(&unknown), later);
    let told = done.condition(kind).unwrap();
    assert_eq!(
        (told.status, told.last_transition_time.as_str()),
        (ConditionStatus::True, later)
    );
}

/// Law 8: a host that enforces nothing says nothing of it, and what cannot be
/// enforced keeps a tenant from being ready.
#[test]
fn isolation_is_told_where_it_is_enforced() {
    let isolated = |isolated: bool, problems: &[Problem]| {
        TenantStatus::of(Pass {
            copying: &Copying::Nowhere,
            record: &record(),
            desired: None,
            plan: &Plan::default(),
            observed: &Observed {
                isolated,
                ..Observed::default()
            },
            health: &BTreeMap::new(),
            problems,
            certificate: None,
            previous: None,
            now: "now",
        })
    };
    assert_eq!(isolated(false, &[]).condition("NetworkIsolated"), None);
    let told = |status: &TenantStatus| {
        let told = status.condition("NetworkIsolated").unwrap();
        (told.status, told.reason.clone())
    };
    let enforced = isolated(true, &[]);
    assert_eq!(told(&enforced), (ConditionStatus::True, "Isolated".into()));
    assert!(enforced.is_ready());
    let missing = [Problem::new(
        Facet::Network,
        ProblemReason::NftMissing,
        "no nft",
    )];
    let missing = isolated(false, &missing);
    let unenforced = (ConditionStatus::False, "NftMissing".into());
    assert_eq!(told(&missing), unenforced);
    assert!(!missing.is_ready());
}

/// Law 8: how near the limit a tenant is, is told; how much it has is not.
#[test]
fn a_limit_on_disk_is_told_once_it_was_looked_at() {
    use crate::disk::{DiskRecord, Enforcement, Level};
    let mut record = record();
    let mut told = |level: Option<Level>| {
        record.disk = level.map(|level| DiskRecord {
            limit: "10Gi".parse().unwrap(),
            enforcement: Enforcement::Watched,
            level,
        });
        let status = TenantStatus::of(Pass {
            copying: &Copying::Nowhere,
            certificate: None,
            record: &record,
            desired: None,
            plan: &Plan::default(),
            observed: &Observed::default(),
            health: &BTreeMap::new(),
            problems: &[],
            previous: None,
            now: "now",
        });
        let condition = status.condition("DiskWithinLimit").cloned();
        (condition.map(|c| (c.status, c.reason)), status.disk)
    };
    assert_eq!(told(None), (None, None));
    let (within, disk) = told(Some(Level::Within));
    assert_eq!(within, Some((ConditionStatus::True, "Within".into())));
    assert_eq!(disk.unwrap().limit.as_str(), "10Gi");
    let (near, _) = told(Some(Level::NearlyFull));
    assert_eq!(near, Some((ConditionStatus::True, "DiskNearlyFull".into())));
}

/// A person finds every reason in the reference, with all it has to say.
#[test]
fn every_reason_is_documented() {
    let all = ProblemReason::ALL.iter();
    crate::documented::assert_in("reasons.md", all.map(|r| (r.as_str(), r.about())));
    for reason in ProblemReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}
