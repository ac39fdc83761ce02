//! What would be done, for `cbctl diff`: the same planner as the passes', on
//! what is on the host now.

use std::collections::{BTreeMap, BTreeSet};

use cb_core::admission::{Admission, Scan as Manifests};
use cb_core::api::{Application, Kind, Tenant};
use cb_core::manifest::{Diagnostic, Document, File, parse};
use cb_core::plan::Plan;
use cb_core::record::{Phase, Record};
use cb_core::status::Problem;
use cb_core::types::{ObjectName, TenantName};
use futures::StreamExt as _;

use super::{diff, drift, target};
use crate::api::{
    PlanBlocked, PlanChange, PlanError, PlanRequest, PlanResponse, PlanStep, Refusal, TenantPlan,
};
use crate::daemon::Daemon;

/// How many tenants are planned for at once.
const PARALLEL: usize = 32;

pub(super) async fn plan<H: cb_host::Host + 'static>(
    daemon: &Daemon<H>,
    request: PlanRequest,
) -> Result<PlanResponse, Refusal> {
    let mut response = PlanResponse::default();
    let wanted = wanted(&request)?;
    let subjects = if request.manifests.is_empty() {
        current(daemon)
    } else {
        let Some(admission) = proposed(daemon, &request, &mut response)? else {
            return Ok(response);
        };
        subjects(daemon, &admission)
    };
    let subjects = subjects
        .into_iter()
        .filter(|s| wanted.as_ref().is_none_or(|w| w.contains(s.after.name())));
    if let Some(wanted) = &wanted
        && wanted
            .iter()
            .any(|name| daemon.engine.state.record(name).is_none())
        && request.manifests.is_empty()
    {
        return Err(Refusal::NotFound);
    }
    let plans =
        futures::stream::iter(subjects.map(|subject| one(daemon, subject))).buffered(PARALLEL);
    response.plans = plans.collect().await;
    if request.manifests.is_empty() && request.tenants.is_none() {
        response.host = drift::of_host(daemon.engine.drifts.of_host());
    }
    Ok(response)
}

/// A tenant as it is and as it would be.
struct Subject {
    before: Option<Tenant>,
    after: Record,
    application: Option<Application>,
}

fn wanted(request: &PlanRequest) -> Result<Option<BTreeSet<TenantName>>, Refusal> {
    let Some(names) = &request.tenants else {
        return Ok(None);
    };
    let parsed = names.iter().map(|name| {
        name.parse::<TenantName>()
            .map_err(|error| Refusal::BadRequest(error.to_string()))
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

fn current<H: cb_host::Host + 'static>(daemon: &Daemon<H>) -> Vec<Subject> {
    let applications = daemon.engine.state.applications();
    let records = daemon
        .engine
        .state
        .with_records(|records| records.values().cloned().collect::<Vec<_>>());
    let live = records
        .into_iter()
        .filter(|record| record.phase != Phase::Retained);
    live.map(|after| Subject {
        before: Some(after.tenant.clone()),
        application: applications
            .get(&after.tenant.spec.application)
            .map(|a| a.application.clone()),
        after,
    })
    .collect()
}

/// Admission as it would be with the request's manifests; `None` if some of
/// them are wrong, which is then in the response.
fn proposed<H: cb_host::Host + 'static>(
    daemon: &Daemon<H>,
    request: &PlanRequest,
    response: &mut PlanResponse,
) -> Result<Option<Admission>, Refusal> {
    let manifests = daemon.catalog.manifests();
    let mut changes: BTreeMap<String, Option<File>> = BTreeMap::new();
    let mut named: Vec<(Kind, String)> = Vec::new();
    for manifest in &request.manifests {
        let file = parse(&manifest.name, manifest.text.as_bytes());
        response.errors.extend(file.errors.iter().map(error));
        for document in &file.documents {
            let (Some(kind), Some(name)) = (document.kind, &document.name) else {
                continue;
            };
            if kind == Kind::Host {
                continue;
            }
            named.push((kind, name.clone()));
            let (path, whole) = overlay(&manifests, &changes, kind, document, &file.file)?;
            changes.insert(path, Some(whole));
        }
    }
    if !response.errors.is_empty() {
        return Ok(None);
    }
    let (_, admission) = daemon.catalog.preview(changes, daemon.now_ms());
    for (kind, name) in named {
        let refused = match kind {
            Kind::Tenant => admission
                .tenants
                .get(name.as_str())
                .map(|verdict| &verdict.refused),
            _ => admission
                .applications
                .get(name.as_str())
                .map(|verdict| &verdict.refused),
        };
        response
            .errors
            .extend(refused.into_iter().flatten().map(error));
    }
    Ok(response.errors.is_empty().then_some(admission))
}

/// The file that a document would be in, with the document in its place.
fn overlay(
    manifests: &Manifests,
    changes: &BTreeMap<String, Option<File>>,
    kind: Kind,
    document: &Document,
    shown: &str,
) -> Result<(String, File), Refusal> {
    let name = document.name.as_deref().unwrap_or_default();
    let same = |other: &Document| other.kind == Some(kind) && other.name.as_deref() == Some(name);
    let holder = manifests.files.iter().find_map(|(path, file)| {
        let file = file.as_ref().ok()?;
        file.documents
            .iter()
            .any(same)
            .then(|| (path.clone(), file.clone()))
    });
    let Some((path, file)) = holder else {
        let path = target::find(manifests, kind, name)?.path;
        let file = File {
            file: shown.to_owned(),
            documents: vec![document.clone()],
            errors: vec![],
        };
        return Ok((path, file));
    };
    let mut whole = changes.get(&path).cloned().flatten().unwrap_or(file);
    whole
        .errors
        .retain(|error| error.name.as_deref() != Some(name));
    for place in whole.documents.iter_mut().filter(|other| same(other)) {
        *place = document.clone();
    }
    Ok((path, whole))
}

/// The tenants that admission would change, and those of Applications that it
/// would change.
fn subjects<H: cb_host::Host + 'static>(daemon: &Daemon<H>, admission: &Admission) -> Vec<Subject> {
    let before = daemon.engine.state.applications();
    let application =
        |name: &ObjectName| match admission.applications.get(name).and_then(|v| v.accepted()) {
            Some((object, _)) => Some(Application::clone(object)),
            None => before.get(name).map(|known| known.application.clone()),
        };
    let mut out = Vec::new();
    for (name, verdict) in &admission.tenants {
        let Some((object, file)) = verdict.accepted() else {
            continue;
        };
        let record = daemon.engine.state.record(name);
        let mut after = record
            .clone()
            .unwrap_or_else(|| Record::new(Tenant::clone(object), file.to_owned()));
        after.accept(object, file);
        let before = record
            .filter(|r| r.phase == Phase::Active)
            .map(|r| r.tenant);
        let application = application(&object.spec.application);
        out.push(Subject {
            before,
            after,
            application,
        });
    }
    out
}

async fn one<H: cb_host::Host + 'static>(daemon: &Daemon<H>, subject: Subject) -> TenantPlan {
    let Subject {
        before,
        after,
        application,
    } = subject;
    let spec_diff = diff::spec(before.as_ref(), Some(&after.tenant));
    let change = match (&before, after.phase) {
        (_, Phase::Retaining | Phase::Deleting) => PlanChange::Delete,
        (None, _) => PlanChange::Create,
        (Some(_), _) if !spec_diff.is_empty() => PlanChange::Update,
        _ => PlanChange::None,
    };
    let (plan, problem) = match daemon.engine.preview(&after, application.as_ref()).await {
        Ok(plan) => (plan, None),
        Err(problem) => (Plan::default(), Some(problem)),
    };
    let status = daemon.engine.state.status(after.name());
    let drift = drift::found(&plan, status.as_deref()).await;
    TenantPlan {
        drift,
        ..rendered(after.name(), change, spec_diff, &plan, problem)
    }
}

fn rendered(
    tenant: &TenantName,
    change: PlanChange,
    spec_diff: String,
    plan: &Plan,
    problem: Option<Problem>,
) -> TenantPlan {
    let steps = plan.steps.iter().map(|step| PlanStep {
        aspect: format!("{:?}", step.aspect),
        action: step.action.kind().to_owned(),
        text: step.action.to_string(),
        reason: step.reason.clone(),
        cause: format!("{:?}", step.cause),
    });
    let blocked = plan.blocked.iter().map(|blocked| PlanBlocked {
        aspect: format!("{:?}", blocked.aspect),
        reason: blocked.reason.as_str().to_owned(),
        message: blocked.message.clone(),
    });
    let problem = problem.map(|problem| PlanBlocked {
        aspect: problem.facet.condition().to_owned(),
        reason: problem.reason.to_string(),
        message: problem.message,
    });
    TenantPlan {
        tenant: tenant.to_string(),
        change,
        spec_diff,
        steps: steps.collect(),
        blocked: blocked.chain(problem).collect(),
        hold: plan.hold.map(|hold| hold.as_str().to_owned()),
        drift: Vec::new(),
    }
}

fn error(diagnostic: &Diagnostic) -> PlanError {
    PlanError {
        file: diagnostic.file.clone(),
        line: diagnostic.position.map(|at| at.line),
        column: diagnostic.position.map(|at| at.column),
        field: diagnostic.path.to_string(),
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone(),
    }
}
