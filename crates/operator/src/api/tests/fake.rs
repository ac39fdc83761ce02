//! A daemon that takes every object and does nothing with it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cb_core::api::{Application, Condition, ConditionStatus, Host, Kind, Tenant, TenantStatus};
use cb_core::backup::Backup;
use cb_core::record::{Phase, Record};
use cb_core::types::{BackupId, TenantName};
use cb_offsite::Entry;
use tokio::sync::Notify;

use crate::access::{Access, Audit, Tokens};
use crate::alerts::Alerts;
use crate::api::{
    Asked, Backend, Cause, Operations, Outcome, PlanChange, PlanRequest, PlanResponse, Problem,
    Put, PutMode, PutResult, Refusal, Restore, TenantPlan, TenantUsage, Upgrade, Verdict, object,
};
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::rollouts::{RolloutFolder, Rollouts};
use crate::state::{ApplicationRecord, NoRecords, State};

pub(super) const KY04: &str = "\
# the first
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata:
  name: ky04
  labels:
    state: ky
spec:
  application: cbapp
  version: v0.2.0
  env:
    GREETING: hello
  secretRefs:
    - name: API_KEY
      file: /etc/cb/secrets/ky04
";

pub(super) const OH01: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata:
  name: oh01
spec:
  application: cbapp
  version: v0.2.0
";

const CBAPP: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata:
  name: cbapp
spec:
  versions:
    - name: v0.2.0
      folder:
        path: /srv/cbapp/v0.2.0
  services:
    - name: api
      command: bin/cbapp-api
      portOffset: 1
";

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata:
  name: web1
  labels:
    region: ky
";

/// The daemon.
pub(super) struct Fake {
    state: State,
    host: Host,
    metrics: Arc<Metrics>,
    pub(super) recorder: Recorder,
    alerts: Alerts,
    pub(super) access: Access,
    pub(super) rollouts: Arc<Rollouts>,
    pub(super) folder: tempfile::TempDir,
    /// The writes that were asked for.
    pub(super) puts: Mutex<Vec<Put>>,
    pub(super) deletes: Mutex<Vec<(Kind, String, bool)>>,
    pub(super) plans: Mutex<Vec<PlanRequest>>,
    /// What was asked for of operations.
    pub(super) asked: Mutex<Vec<String>>,
    /// What operations are answered with; without, they are pending.
    pub(super) answer: Mutex<Option<Result<Asked, Problem>>>,
    pub(super) backups: Mutex<Vec<Backup>>,
    pub(super) copies: Mutex<Result<Option<Vec<Entry>>, Problem>>,
    /// What is found out of backups.
    pub(super) verdict: Mutex<Verdict>,
    /// What the next write is answered with.
    pub(super) refuse: Mutex<Option<Refusal>>,
    pub(super) not_ready: Mutex<Option<String>>,
    /// A reconcile says that it began, and waits until it may end.
    pub(super) began: Notify,
    pub(super) go_on: Notify,
    pub(super) ended: Notify,
}

impl Fake {
    pub(super) async fn new() -> Self {
        let mut record = Record::new(serde_yaml::from_str(KY04).unwrap(), "ky/ky04.yaml".into());
        record.created = Some("2026-01-02T03:04:05.678Z".into());
        let mut leaving = Record::new(serde_yaml::from_str(OH01).unwrap(), "oh01.yaml".into());
        leaving.phase = Phase::Retaining;
        let application = ApplicationRecord {
            application: serde_yaml::from_str::<Application>(CBAPP).unwrap(),
            file: "application-cbapp.yaml".into(),
            generation: 3,
            created: Some("2026-01-01T00:00:00Z".into()),
            provenance: cb_core::patch::Provenance::default(),
        };
        let state = State::new(Arc::new(NoRecords), [record, leaving], [application]);
        let folder = tempfile::tempdir().unwrap();
        for name in ["ky04", "oh01"] {
            state.set_status(&name.parse().unwrap(), status());
        }
        Self {
            state,
            host: serde_yaml::from_str(HOST).unwrap(),
            metrics: Metrics::new(),
            recorder: Recorder::new("web1", Vec::new()),
            alerts: Alerts::none("web1"),
            access: Access {
                tokens: Tokens::load(folder.path().join("tokens")).unwrap(),
                audit: Audit::open(&folder.path().join("audit")).unwrap(),
                remote: None,
            },
            rollouts: Rollouts::new(RolloutFolder::new(folder.path().to_owned()), Vec::new()),
            folder,
            puts: Mutex::default(),
            deletes: Mutex::default(),
            plans: Mutex::default(),
            asked: Mutex::default(),
            answer: Mutex::default(),
            backups: Mutex::default(),
            copies: Mutex::new(Ok(None)),
            verdict: Mutex::new(Verdict::Good),
            refuse: Mutex::default(),
            not_ready: Mutex::default(),
            began: Notify::new(),
            go_on: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Takes a tenant as the catalog would.
    pub(super) async fn take(&self, text: &str) {
        let tenant: Tenant = serde_yaml::from_str(text).unwrap();
        let file = format!("{}.yaml", tenant.tenant_name());
        self.state.insert(Record::new(tenant, file)).await.unwrap();
    }
}

fn status() -> TenantStatus {
    let ready = Condition {
        kind: "Ready".into(),
        status: ConditionStatus::True,
        observed_generation: 1,
        last_transition_time: "2026-02-03T04:05:06Z".into(),
        reason: "Ready".into(),
        message: "everything runs".into(),
    };
    TenantStatus {
        observed_generation: 1,
        conditions: vec![ready],
        ..TenantStatus::default()
    }
}

#[async_trait]
impl Backend for Fake {
    fn state(&self) -> &State {
        &self.state
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    fn access(&self) -> Option<&Access> {
        Some(&self.access)
    }

    fn alerts(&self) -> Option<&Alerts> {
        Some(&self.alerts)
    }

    fn ready(&self) -> Result<(), String> {
        self.not_ready.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn put(&self, put: Put) -> Result<PutResult, Refusal> {
        self.puts.lock().unwrap().push(put.clone());
        if let Some(refusal) = self.refuse.lock().unwrap().take() {
            return Err(refusal);
        }
        let wrong = |error: serde_yaml::Error| {
            let message = format!("cannot be read at {:?}", error.location().is_some());
            Refusal::Invalid(vec![Cause {
                field: String::new(),
                message,
            }])
        };
        let tenant: Tenant = serde_yaml::from_str(&put.text).map_err(wrong)?;
        let name = tenant.tenant_name().clone();
        let old = self.state.tenants().get(&name);
        let outcome = match &old {
            Some(_) if put.mode == PutMode::Create => return Err(Refusal::AlreadyExists),
            Some(old) if old.value.tenant.spec == tenant.spec => Outcome::Unchanged,
            Some(_) => Outcome::Configured,
            None => Outcome::Created,
        };
        if !put.dry_run {
            self.take(&put.text).await;
        }
        let now = self.state.tenants().get(&name).or(old);
        let object = now.map(|item| object::tenant(&item.value, item.revision));
        Ok(PutResult {
            outcome,
            object: object.unwrap_or_default(),
        })
    }

    async fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<(), Refusal> {
        if name != "ky04" {
            return Err(Refusal::NotFound);
        }
        self.deletes
            .lock()
            .unwrap()
            .push((kind, name.to_owned(), dry_run));
        Ok(())
    }

    async fn restart(&self, tenant: &str) -> Result<(), Refusal> {
        self.reconcile(tenant).await
    }

    async fn usage(&self, _: bool) -> Vec<TenantUsage> {
        Vec::new()
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanResponse, Refusal> {
        self.plans.lock().unwrap().push(request);
        let plan = TenantPlan {
            tenant: "ky04".into(),
            change: PlanChange::None,
            spec_diff: String::new(),
            steps: Vec::new(),
            blocked: Vec::new(),
            hold: None,
            drift: Vec::new(),
        };
        Ok(PlanResponse {
            plans: vec![plan],
            errors: Vec::new(),
            host: Vec::new(),
        })
    }

    async fn reconcile(&self, _: &str) -> Result<(), Refusal> {
        self.began.notify_one();
        self.go_on.notified().await;
        self.ended.notify_one();
        Ok(())
    }
}

impl Fake {
    fn note(&self, tenant: &TenantName, what: String) -> Result<Asked, Problem> {
        self.asked.lock().unwrap().push(format!("{tenant}: {what}"));
        let answer = self.answer.lock().unwrap().clone();
        answer.unwrap_or(Ok(Asked::Pending))
    }
}

#[async_trait]
impl Operations for Fake {
    async fn upgrade(&self, tenant: &TenantName, wish: Upgrade) -> Result<Asked, Problem> {
        let Upgrade {
            target,
            backup,
            migrate,
            restore,
        } = wish;
        let restore = restore.map(|id| id.to_string());
        let what = format!("to {target}, backup {backup}, migrate {migrate}, restore {restore:?}");
        self.note(tenant, what)
    }

    async fn retry(&self, tenant: &TenantName) -> Result<Asked, Problem> {
        self.note(tenant, "retry".into())
    }

    async fn back_up(&self, tenant: &TenantName) -> Result<Asked, Problem> {
        self.note(tenant, "backup".into())
    }

    async fn restore(&self, tenant: &TenantName, wish: Restore) -> Result<Asked, Problem> {
        let version = wish.version.map(|version| version.to_string());
        self.note(tenant, format!("restore {} with {version:?}", wish.backup))
    }

    async fn backups(&self, _: &TenantName) -> Result<Vec<Backup>, Problem> {
        Ok(self.backups.lock().unwrap().clone())
    }

    async fn delete_backup(
        &self,
        tenant: &TenantName,
        backup: &BackupId,
        force: bool,
    ) -> Result<(), Problem> {
        self.note(tenant, format!("delete {backup}, force {force}"))
            .map(drop)
    }

    async fn copies(&self, _: &TenantName) -> Result<Option<Vec<Entry>>, Problem> {
        self.copies.lock().unwrap().clone()
    }

    async fn fetch_backup(&self, tenant: &TenantName, backup: &BackupId) -> Result<bool, Problem> {
        self.note(tenant, format!("fetch {backup}")).map(|_| true)
    }

    async fn verify_backup(&self, _: &TenantName, _: &BackupId) -> Result<Verdict, Problem> {
        Ok(self.verdict.lock().unwrap().clone())
    }
}
