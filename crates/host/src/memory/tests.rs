//! The host in memory behaves as a machine does where it matters.

use cb_core::desired::ManagedFile;
use cb_core::status::ProblemReason;
use futures::FutureExt as _;

use super::*;

fn host() -> MemoryHost {
    let host = "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: one}}";
    MemoryHost::new(&serde_yaml::from_str(host).expect("a valid Host"))
}

fn tenant() -> TenantName {
    "ky04".parse().expect("a valid name")
}

/// Executes at once: nothing here waits, unless it hangs.
fn run(host: &MemoryHost, action: &Action) -> Option<Result<Done, ActionError>> {
    host.execute(&tenant(), action).now_or_never()
}

fn reason(result: Option<Result<Done, ActionError>>) -> ProblemReason {
    result.expect("it returns").expect_err("it fails").reason
}

const UNIT: &str = "/etc/systemd/system/ky04-api.service";

fn unit(text: &str) -> Action {
    let content = format!("[Service]\nEnvironment=PORT=32301\n{text}\n");
    Action::WriteUnit(ManagedFile {
        path: UNIT.into(),
        content,
        mode: 0o644,
    })
}

fn start(reset: bool) -> Action {
    Action::Start {
        unit: "ky04-api.service".into(),
        service: "api".parse().expect("a valid name"),
        revision: "1".into(),
        reset,
    }
}

fn runs(host: &MemoryHost) -> Option<String> {
    let text = host.running("ky04-api.service")?.unit_text;
    Some(text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_service_runs_what_systemd_had_read_when_it_was_started() {
    let host = host();
    run(&host, &unit("A=1")).unwrap().unwrap();
    assert_eq!(
        reason(run(&host, &start(false))),
        ProblemReason::StartFailed,
        "systemd does not know it yet"
    );
    run(&host, &Action::ReloadUnits).unwrap().unwrap();
    let first = run(&host, &start(false)).unwrap().unwrap();
    run(&host, &unit("A=2")).unwrap().unwrap();
    host.restart_unit("ky04-api.service").unwrap();
    assert_eq!(runs(&host).unwrap(), "A=1", "it was not reloaded");
    assert_ne!(
        host.running("ky04-api.service").unwrap().invocation_id,
        first.invocation_id.unwrap()
    );
    run(&host, &Action::ReloadUnits).unwrap().unwrap();
    assert_eq!(runs(&host).unwrap(), "A=1", "it was not restarted");
    host.restart_unit("ky04-api.service").unwrap();
    assert_eq!(runs(&host).unwrap(), "A=2");
}

#[test]
fn a_service_whose_port_is_taken_fails_and_must_be_reset() {
    let host = host();
    run(&host, &unit("")).unwrap().unwrap();
    run(&host, &Action::ReloadUnits).unwrap().unwrap();
    host.take_port(32301, 0);
    run(&host, &start(false)).unwrap().unwrap();
    assert_eq!(
        host.unit_state("ky04-api.service").unwrap().sub_state,
        "auto-restart"
    );
    host.settle();
    assert_eq!(
        host.unit_state("ky04-api.service").unwrap().active_state,
        "failed"
    );
    host.free_port(32301);
    assert_eq!(
        reason(run(&host, &start(false))),
        ProblemReason::StartFailed
    );
    run(&host, &start(true)).unwrap().unwrap();
    assert_eq!(host.bound()[&32301], [0].into());
}

#[test]
fn cut_before_the_reload_a_restart_reloads() {
    let host = host();
    host.cut_after(2);
    assert_eq!(reason(run(&host, &unit("A=1"))), ProblemReason::Failed);
    assert!(host.is_cut_off() && host.content(UNIT).is_some());
    assert_eq!(
        reason(run(&host, &Action::ReloadUnits)),
        ProblemReason::Failed
    );
    host.restart();
    assert!(host.loaded("ky04-api.service").unwrap().contains("A=1"));
    assert_eq!(host.node("/var/lib/cb/pending/daemon-reload"), None);
}

#[test]
fn cut_before_nginx_reloads_a_restart_reloads_it() {
    let host = host();
    let path = std::path::PathBuf::from("/etc/nginx/conf.d/cb-ky04.conf");
    let site = |text: &str| {
        Action::WriteSite(ManagedFile {
            path: path.clone(),
            content: text.into(),
            mode: 0o644,
        })
    };
    host.cut_after(2);
    assert_eq!(reason(run(&host, &site("one"))), ProblemReason::Failed);
    assert_eq!(
        (host.content(&path).as_deref(), host.served(&path)),
        (Some("one"), None)
    );
    host.restart();
    assert_eq!(host.served(&path).as_deref(), Some("one"));
    host.nginx_rejects(|text| text == "bad");
    assert_eq!(
        reason(run(&host, &site("bad"))),
        ProblemReason::SiteRejected
    );
    assert_eq!(host.content(&path).as_deref(), Some("one"));
    host.set_nginx_broken(true);
    assert_eq!(reason(run(&host, &site("two"))), ProblemReason::NginxBroken);
    host.set_nginx_running(false);
    assert_eq!(
        reason(run(&host, &site("two"))),
        ProblemReason::NginxNotRunning
    );
    assert_eq!(host.served(&path).as_deref(), Some("one"));
}

#[test]
fn faults_meet_the_actions_they_are_for() {
    let host = host();
    host.fault_nth(2, Fault::fail(ProblemReason::DiskFull));
    run(&host, &unit("A=1")).unwrap().unwrap();
    assert_eq!(reason(run(&host, &unit("A=2"))), ProblemReason::DiskFull);
    assert!(
        host.content(UNIT).unwrap().contains("A=1"),
        "a fault is before any effect"
    );
    host.fault_when(|_, action| *action == Action::ReloadUnits, Fault::Hang);
    assert_eq!(run(&host, &Action::ReloadUnits), None);
    assert_eq!(host.loaded("ky04-api.service"), None);
    host.clear_faults();
    host.fault_when(|_, action| *action == Action::ReloadUnits, Fault::HangAfter);
    assert_eq!(run(&host, &Action::ReloadUnits), None);
    assert!(host.loaded("ky04-api.service").is_some());
    let log = host.log();
    let results: Vec<_> = log
        .iter()
        .map(|l| l.result.as_ref().map(Result::is_ok))
        .collect();
    assert_eq!(results, [Some(true), Some(false), None, None]);
}

#[test]
fn after_a_reboot_runs_what_is_enabled() {
    let host = host();
    run(&host, &unit("A=1")).unwrap().unwrap();
    run(&host, &Action::ReloadUnits).unwrap().unwrap();
    run(&host, &start(false)).unwrap().unwrap();
    host.reboot();
    assert_eq!(runs(&host), None);
    run(&host, &Action::Enable(vec!["ky04-api.service".into()]))
        .unwrap()
        .unwrap();
    host.cut_after(0);
    host.reboot();
    assert_eq!(runs(&host).as_deref(), Some("A=1"));
    assert!(!host.is_cut_off());
}

#[test]
fn listeners_hear_of_changes_and_forks_are_independent() {
    let host = host();
    let mut events = host.subscribe();
    let fork = host.fork();
    run(&fork, &unit("A=1")).unwrap().unwrap();
    assert_eq!(host.content(UNIT), None);
    assert!(events.try_recv().is_err());
    run(&host, &unit("A=1")).unwrap().unwrap();
    let mut heard = std::iter::from_fn(|| events.try_recv().ok());
    assert!(heard.any(|event| event == HostEvent::Path(UNIT.into())));
}

#[tokio::test(start_paused = true)]
async fn actions_take_time_by_the_paused_clock() {
    let host = host();
    host.set_slow(Duration::from_secs(60));
    let before = tokio::time::Instant::now();
    host.execute(&tenant(), &Action::ReloadUnits).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(60));
}
