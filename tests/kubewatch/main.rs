//! A client of the API for tests, written with kube-rs as people write operators
//! of their own: nothing in it is made for this API but the group, the version
//! and the kind.
//!
//! ```text
//! kubewatch reflect [--streaming]
//! kubewatch control [--streaming]
//! ```
//!
//! `reflect` prints each event of its watch with the tenants that it knows then,
//! `control` gives every tenant an annotation with its version and prints what it
//! does. Both list first and watch then; with `--streaming` the watch begins
//! with the list. `KUBECONFIG` names the way to the operator, as everywhere.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, pinned_kind};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, InitialListStrategy, watcher};
use kube::runtime::{Controller, WatchStreamExt as _};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// The annotation that `control` sets.
const SEEN: &str = "kubewatch.example.org/seen";
/// Who it is for the fields that it sets.
const MANAGER: &str = "kubewatch";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (work, initial_list_strategy) = match arguments.as_slice() {
        [work] => (*work, InitialListStrategy::ListWatch),
        [work, "--streaming"] => (*work, InitialListStrategy::StreamingList),
        _ => bail!("usage: kubewatch reflect|control [--streaming]"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let client = Client::try_default().await?;
    let kind = GroupVersionKind::gvk("campaignbrain.io", "v1alpha1", "Tenant");
    let (resource, _) = pinned_kind(&client, &kind).await?;
    let tenants = Api::all_with(client, &resource);
    let config = watcher::Config {
        initial_list_strategy,
        ..watcher::Config::default()
    };
    match work {
        "reflect" => reflect(tenants, resource, config).await,
        "control" => control(tenants, resource, config).await,
        _ => bail!("there is no work `{work}`"),
    }
    Ok(())
}

/// The same pause after every failure. The default one doubles to 30 seconds,
/// which is kind to a server and long for who waits in a test.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(500))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

async fn reflect(tenants: Api<DynamicObject>, resource: ApiResource, config: watcher::Config) {
    let writer = reflector::store::Writer::new(resource);
    let known = writer.as_reader();
    let events = watcher(tenants, config).backoff(Steady).reflect(writer);
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => println!("{event}: {}", shown(&known)),
            Err(error) => println!("error: {error}"),
        }
    }
}

/// Every tenant that is known, with its version.
fn shown(known: &Store<DynamicObject>) -> String {
    let tenants = known.state();
    let mut words: Vec<String> = tenants
        .iter()
        .map(|tenant| format!("{}={}", tenant.name_any(), version(tenant)))
        .collect();
    words.sort();
    words.join(" ")
}

fn version(tenant: &DynamicObject) -> &str {
    tenant.data["spec"]["version"].as_str().unwrap_or_default()
}

async fn control(tenants: Api<DynamicObject>, resource: ApiResource, config: watcher::Config) {
    let again = |_, error: &kube::Error, _| {
        println!("error: {error}");
        Action::requeue(Duration::from_secs(1))
    };
    Controller::new_with(tenants.clone(), config, resource)
        .trigger_backoff(Steady)
        .run(annotate, again, Arc::new(tenants))
        .for_each(|done| async move {
            match done {
                Ok((tenant, _)) => println!("reconciled {}", tenant.name),
                Err(error) => println!("error: {error}"),
            }
        })
        .await;
}

async fn annotate(
    tenant: Arc<DynamicObject>,
    tenants: Arc<Api<DynamicObject>>,
) -> kube::Result<Action> {
    let (name, version) = (tenant.name_any(), version(&tenant));
    if tenant
        .annotations()
        .get(SEEN)
        .is_some_and(|seen| seen == version)
    {
        return Ok(Action::await_change());
    }
    println!("patching {name}");
    let patch = json!({
        "apiVersion": "campaignbrain.io/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name, "annotations": {SEEN: version}},
    });
    let by = PatchParams::apply(MANAGER);
    tenants.patch(&name, &by, &Patch::Apply(patch)).await?;
    println!("patched {name}");
    Ok(Action::await_change())
}
