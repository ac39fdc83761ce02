//! The program: reads the Host, takes the lock, starts everything, and ends
//! cleanly on SIGTERM.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cb_core::api::Host;
use cb_core::event::Series;
use cb_core::layout::Layout;
use cb_core::manifest::{AnyObject, parse};
use cb_core::record::{Phase, Record};
use cb_core::types::TenantName;
use cb_host::SystemHost;
use cb_host::files::{self, FileCache, FileSpec};
use cb_runtime::{FolderConfig, FolderWatcher};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{self, Access, Audit, Tokens};
use crate::acme::Acme;
use crate::api;
use crate::catalog::{Catalog, ManifestFiles, real_folder};
use crate::daemon::{Daemon, Sources};
use crate::disk::Disks;
use crate::ledger::Ledger;
use crate::lock::Lock;
use crate::metrics::{Metrics, collect};
use crate::named_files::NamedFiles;
use crate::offsite::Offsite;
use crate::recorder::{EventFolder, Recorder};
use crate::records::RecordFolder;
use crate::rollouts::{RolloutFolder, Rollouts};
use crate::state::State;
use crate::status_file::StatusFiles;
use crate::tenant::{Drifts, Engine, Readiness, Rounds, Slots};
use crate::workers::{Remote, Workers};
use crate::{events, logging, recover, yaml_folder};

/// Keeps this host equal to a folder of tenant manifests.
///
/// Exit codes: 0 stopped as asked, 1 it could not start or go on, 2 wrong
/// usage.
#[derive(Debug, Parser)]
#[command(name = "cb-operator", version)]
struct Arguments {
    /// The manifest of this machine.
    #[arg(long, value_name = "FILE", default_value = "/etc/cb/host.yaml")]
    host: PathBuf,
    /// What to log, as in RUST_LOG: `info`, `debug`, `cb_host=debug`.
    #[arg(long, value_name = "FILTER", env = "CB_LOG", default_value = "info")]
    log: String,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(Some(&arguments.log));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    // A thread that hangs in a system call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let spec = Arc::new(read_host(&arguments.host)?);
    let layout = Layout::new(&spec.spec);
    let paths = &spec.spec.paths;
    let state_folder = PathBuf::from(paths.state.as_str());
    // Tenants go through it to their own folders.
    files::ensure_dir(&state_folder, FileSpec::own(0o711))?;
    files::ensure_dir(Path::new(paths.runtime.as_str()), FileSpec::own(0o755))?;
    let lock = Lock::take(&state_folder.join("operator.lock"))?;

    let metrics = Metrics::new();
    let state = Arc::new(state_of(&layout, &metrics)?);
    let folder = EventFolder::new(layout.events());
    let recorder = Recorder::new(spec.metadata.name.as_str(), events_of(&folder));
    let rollouts = rollouts_of(&layout)?;
    let recovered = recover::units(Path::new(paths.units.as_str()))
        .with_context(|| format!("cannot read the units in {}", paths.units))?;
    let ledger = Arc::new(state.with_records(|records| Ledger::new(records, recovered.ports)));

    let host = Arc::new(SystemHost::start(&spec.spec).await?);
    let repository = host.repository(spec.metadata.name.as_str());
    let counted = Arc::clone(&metrics);
    let (manifests, sink) = if repository.is_some() {
        // A link to the commit in effect.
        let manifests = cb_host::source::current(&state_folder);
        let sink = StatusFiles::apart(state_folder.join("status"), counted);
        (manifests, Arc::new(sink))
    } else {
        let manifests = real_folder(paths.manifests.as_str());
        let sink = StatusFiles::new(manifests.clone(), counted);
        (manifests, Arc::new(sink))
    };
    host.know_ports(state.with_records(ports_of));
    let counted = Arc::clone(&host);
    metrics.at_scrape(move |sheet| collect::host(sheet, counted.counts()));
    for name in state.names() {
        if let Some(record) = state
            .record(&name)
            .filter(|record| record.phase != Phase::Retained)
            && let Some(status) = sink.read(&name, &record.file)
        {
            state.set_status(&name, status);
        }
    }
    let catalog = Arc::new(Catalog::new(
        Arc::clone(&state),
        Arc::clone(&spec),
        Arc::clone(&sink),
        recorder.clone(),
    ));
    let (slots, turns) = Slots::new(spec.spec.operations.parallelism);
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    tasks.spawn(recorder.clone().keep(folder, stop.clone()));
    let offsite = Offsite::new(
        Arc::clone(&host),
        Arc::clone(&spec),
        Arc::clone(&state),
        (recorder.clone(), Arc::clone(&metrics)),
    );
    let (offsite, backed_up) = offsite.unzip();
    let (disks, asked) = Disks::new(
        Arc::clone(&host),
        Arc::clone(&spec),
        Arc::clone(&state),
        recorder.clone(),
    );
    let acme = Acme::new(&spec, recorder.clone()).context("cannot have certificates issued")?;
    let drifts = state.with_records(|records| Drifts::of(records.values()));
    let (sender, events) = mpsc::unbounded_channel();
    let engine = Arc::new(Engine {
        host: Arc::clone(&host),
        spec: Arc::clone(&spec),
        state,
        ledger,
        sink,
        readiness: Readiness::default(),
        rounds: Rounds::default(),
        drifts,
        metrics,
        recorder: recorder.clone(),
        slots,
        rollouts: Arc::clone(&rollouts),
        disks: Arc::clone(&disks),
        offsite,
        acme,
        named_files: NamedFiles::new(sender.clone()),
        recovered: recovered.versions.into(),
    });

    let _watcher = match events::watch(&spec.spec, sender.clone()) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!("changed files are noticed by the resync alone: {error}");
            None
        }
    };
    host.forward_events(sender);
    let (folder, scans) = FolderWatcher::spawn(FolderConfig::new(&manifests, ManifestFiles));
    let resync = Duration::from_secs(spec.spec.resync.period_seconds.into());
    let sources = Sources {
        scans,
        events,
        turns,
        resync,
    };
    let daemon = Daemon::start(
        engine,
        catalog,
        folder,
        manifests,
        sources,
        Arc::clone(&rollouts),
        (&tasks, &stop),
    );
    daemon
        .start_rounds(&stop)
        .context("cannot start the health rounds")?;
    let workers = Workers {
        daemon: &daemon,
        tasks: &tasks,
        stop: &stop,
    };
    if let (Some(repository), Some(git)) = (repository, spec.spec.source.git.clone()) {
        workers.follow(repository, git);
    }
    // Before any pass: one would bring tenants to what was wanted before.
    daemon.look_at_manifests().await;
    // What was interrupted goes on.
    daemon.controller.add_all(
        daemon.engine.state.names(),
        crate::controller::Reason::Resync,
    );
    daemon.forget_lost_wishes().await;
    workers.certificates();
    workers.disks(disks, asked);
    workers.copies(backed_up);
    workers.alerts(layout.alerts())?;
    workers.rollouts(resync);
    workers.releases();
    workers.upkeep(resync);

    let (access, remote) = access_of(&spec, &layout)?;
    // Nothing else sets it.
    let _ = daemon.access.set(access);
    let group = spec.spec.api.group.as_ref().map(AsRef::as_ref);
    let socket = api::Socket::bind(Path::new(paths.runtime.as_str()), group, &lock).await?;
    let shown = socket.path().display().to_string();
    let server = workers.api(socket, remote);
    workers.watchdog();
    notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        "ready: {} tenants, API on {shown}",
        daemon.engine.state.names().len()
    );

    tokio::select! {
        asked = asked_to_stop() => asked?,
        ended = server => bail!("the API server ended: {ended:?}"),
    }
    tracing::info!("stopping; tenants go on");
    notify(&[sd_notify::NotifyState::Stopping]);
    stop.cancel();
    daemon.shut_down().await;
    tasks.close();
    let _ = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
    Ok(())
}

/// Tokens, the log of changes, and the address and certificate of the API over
/// TCP, if the Host has it.
fn access_of(spec: &Host, layout: &Layout) -> anyhow::Result<(Access, Option<Remote>)> {
    let api = &spec.spec.api;
    let given = api.tls.as_ref().map(|tls| {
        (
            Path::new(tls.certificate_file.as_str()),
            Path::new(tls.key_file.as_str()),
        )
    });
    let tls = api
        .listen
        .as_ref()
        .map(|listen| {
            let address = listen.socket();
            let tls = access::tls(&layout.pki(), address, given);
            tls.map(|tls| (address, tls))
        })
        .transpose()
        .context("the API cannot be served on the Host's spec.api.listen")?;
    let access = Access {
        tokens: Tokens::load(layout.tokens()).context("cannot read the tokens")?,
        audit: Audit::open(&layout.audit()).context("cannot make the folder of the audit log")?,
        remote: tls
            .as_ref()
            .map(|(address, tls)| (*address, tls.authority.clone())),
    };
    Ok((access, tls.map(|(address, tls)| (address, tls.config))))
}

async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn read_host(path: &Path) -> anyhow::Result<Host> {
    let content = FileCache::content(path).with_context(|| {
        format!(
            "cannot read the Host from {}; docs/operations.md says how to install one",
            path.display()
        )
    })?;
    let file = parse(&path.display().to_string(), &content);
    if !file.errors.is_empty() {
        let errors: Vec<String> = file.errors.iter().map(ToString::to_string).collect();
        bail!("{}", errors.join("\n"));
    }
    match file
        .documents
        .iter()
        .map(|document| &document.object)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [Some(AnyObject::Host(host))] => Ok(Host::clone(host)),
        _ => bail!(
            "{} must hold one object of kind Host and nothing else",
            path.display()
        ),
    }
}

fn state_of(layout: &Layout, metrics: &Arc<Metrics>) -> anyhow::Result<State> {
    let records = RecordFolder::new(layout.records());
    let loaded = records.load().context("cannot read the records")?;
    for broken in &loaded.broken {
        tracing::error!("a record is broken and was set aside as .broken: {broken}");
    }
    let records = Arc::new(metrics.counting_records(records));
    Ok(State::new(records, loaded.records, loaded.applications))
}

/// Earlier events. Without them the operator works as well.
fn events_of(folder: &EventFolder) -> Vec<Series> {
    let kept = folder.load().unwrap_or_else(|error| {
        tracing::warn!("earlier events cannot be read: {error:#}");
        yaml_folder::Loaded::default()
    });
    for broken in &kept.broken {
        tracing::warn!("events are broken and were set aside as .broken: {broken}");
    }
    kept.values
}

fn rollouts_of(layout: &Layout) -> anyhow::Result<Arc<Rollouts>> {
    let folder = RolloutFolder::new(layout.rollouts());
    let loaded = folder.load().context("cannot read the rollouts")?;
    for broken in &loaded.broken {
        tracing::error!("a rollout is broken and was set aside as .broken: {broken}");
    }
    Ok(Rollouts::new(folder, loaded.values))
}

/// The ports of the tenants that have some.
fn ports_of(records: &BTreeMap<TenantName, Record>) -> BTreeMap<TenantName, BTreeSet<u16>> {
    let ports = |(name, record): (&TenantName, &Record)| {
        let ports: BTreeSet<u16> = record.ports.by_service.values().copied().collect();
        (!ports.is_empty()).then(|| (name.clone(), ports))
    };
    records.iter().filter_map(ports).collect()
}

pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}
