//! What the operator counts, read by a real Prometheus.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::world::{TINY, World};

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 5}
  api: {metricsAddress: 127.0.0.1:9643}
";

/// As `docs/operations.md` has it, but in a hurry.
const PROMETHEUS: &str = "\
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [/opt/cb/manifests/prometheus/rules.yaml, /etc/prometheus/hurried.yaml]
scrape_configs:
- job_name: cb-operator
  static_configs: [{targets: ['127.0.0.1:9643']}]
";

/// The example rules again, without their patience.
const HURRIED: &str = "\
sed 's/^- name: .*/- name: hurried/; s/ for: .*/ for: 1s/' \
    /opt/cb/manifests/prometheus/rules.yaml >/etc/prometheus/hurried.yaml";

impl World {
    fn start_prometheus(&self) -> Result<()> {
        let config = "/etc/prometheus/prometheus.yml";
        self.host.push(PROMETHEUS.as_bytes(), config, 0o644)?;
        self.host.sh(HURRIED)?;
        self.host.sh(&format!("promtool check config {config}"))?;
        self.host.sh(&format!(
            "systemd-run --quiet --unit=prometheus-test prometheus --config.file={config} \
             --storage.tsdb.path=/var/lib/prometheus-test --web.listen-address=127.0.0.1:9090"
        ))?;
        Ok(())
    }

    /// What Prometheus answers; nothing while it does not.
    fn prometheus(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let answer = self.host.curl(&["-g", &url]);
        answer.map_or(Value::Null, |answer| answer.json()["data"].clone())
    }

    /// The values of a metric by Prometheus, as numbers.
    fn asked(&self, query: &str) -> Vec<f64> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.prometheus(&format!("query?query={query}"));
        let result = data["result"].as_array().cloned().unwrap_or_default();
        let value = |row: &Value| row["value"][1].as_str()?.parse().ok();
        result.iter().filter_map(value).collect()
    }

    /// The tenants that an alert fires for.
    fn fires_for(&self, alert: &str) -> Vec<String> {
        let data = self.prometheus("alerts");
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let fires = alerts
            .iter()
            .filter(|found| found["labels"]["alertname"] == alert && found["state"] == "firing");
        fires
            .filter_map(|found| found["labels"]["tenant"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Law 8: what is told is what is. A tenant that is broken makes the example
/// rules fire for it, and for no other, and only for as long as it is.
#[test]
fn prometheus_reads_the_metrics_and_the_example_rules_fire() -> Result<()> {
    let world = World::installed("metrics")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    world.start_prometheus()?;
    world.put_tiny("good", "")?;
    world.put_tiny("bad", "")?;
    world.wait_ready("good")?;
    world.wait_ready("bad")?;
    world.waits("Prometheus has both tenants", || {
        Ok(world.asked("cb_tenant_ready") == [1.0, 1.0])
    })?;
    assert_eq!(world.asked("up{job=\"cb-operator\"}"), [1.0]);
    assert_eq!(world.asked("cb_ready"), [1.0]);
    assert_eq!(world.asked("cb_units{state=\"active\"}"), [4.0]);
    assert_eq!(world.asked("sum(cb_tenants{condition=\"Ready\"})"), [2.0]);
    for happened in [
        "cb_systemd_daemon_reloads_total{result=\"ok\"} > 0",
        "cb_nginx_reloads_total{result=\"ok\"} > 0",
        "cb_nginx_tests_total{result=\"accepted\"} > 0",
        "cb_records_saved_total{result=\"ok\"} > 0",
        "cb_status_writes_total{result=\"ok\"} > 0",
        "cb_reconcile_duration_seconds_count > 0",
        "cb_api_requests_total{method=\"GET\",code=\"200\"} > 0",
        "sum(cb_host_events_total) > 0",
        "process_cpu_seconds_total > 0",
    ] {
        assert_eq!(world.asked(happened).len(), 1, "{happened}");
    }
    world.waits("every example rule was evaluated", || {
        let groups = world.prometheus("rules")["groups"].clone();
        let groups = groups.as_array().cloned().unwrap_or_default();
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|g| g["rules"].as_array())
            .flatten()
            .collect();
        let wrong: Vec<_> = rules
            .iter()
            .filter(|rule| rule["health"] == "err")
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        Ok(groups.len() == 2 && rules.iter().all(|rule| rule["health"] == "ok"))
    })?;
    assert_eq!(world.fires_for("TenantNotReady"), [""; 0]);

    world.put_tiny("bad", "env: {TINYAPP_FAULT: unhealthy}")?;
    world.waits("the rule fires for the tenant that is broken", || {
        Ok(world.fires_for("TenantNotReady") == ["bad"])
    })?;
    world.put_tiny("bad", "")?;
    world.waits("the rule fires no more", || {
        Ok(world.fires_for("TenantNotReady").is_empty())
    })?;

    world.host.sh("systemctl kill -s KILL good-api")?;
    let restarts = "cb_service_restarts_total{tenant=\"good\",unit=\"good-api.service\"}";
    world.waits("the restart of a killed service is counted", || {
        Ok(world.asked(restarts) == [1.0])
    })?;

    world
        .host
        .sh("chmod 600 /etc/systemd/system/good-api.service")?;
    world.waits("the drift that was put right is counted", || {
        Ok(world.asked("cb_drift_corrected_total{kind=\"UnitMode\"}") == [1.0])
    })
}

/// What is served over TCP is three paths to read; what is served at all is in
/// the format that it says it is in.
#[test]
fn over_tcp_there_are_three_paths_and_nothing_to_change() -> Result<()> {
    let world = World::installed("metrics-tcp")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    // Taken by somebody else at first: the operator goes on without, and tries
    // again.
    world
        .host
        .sh("systemd-run --quiet --unit=taken --property=Type=exec \
         sh -c 'exec /opt/cb/bin/tinyapp 9643'")?;
    world.start()?;
    world.put_tiny("good", "")?;
    world.wait_ready("good")?;
    let journal = world.host.journal("cb-operator");
    assert!(
        journal.contains("cannot listen on 127.0.0.1:9643"),
        "{journal}"
    );
    world.host.sh("systemctl stop taken")?;
    let url = |path: &str| format!("http://127.0.0.1:9643{path}");
    world.waits("the metrics are there", || {
        let answer = world.host.curl(&[&url("/metrics")]);
        Ok(answer.is_ok_and(|answer| answer.body.contains("cb_build_info")))
    })?;
    let code = |arguments: &[&str]| -> Result<u16> { Ok(world.host.curl(arguments)?.status) };
    assert_eq!(code(&[&url("/healthz")])?, 200);
    assert_eq!(code(&[&url("/readyz")])?, 200);
    for path in ["/", "/apis", "/version", "/operator/v1/plan", "/metrics/x"] {
        assert_eq!(code(&[&url(path)])?, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(code(&["-X", method, &url("/metrics")])?, 405, "{method}");
    }
    let socket = [
        "--unix-socket",
        "/run/cb/operator.sock",
        "http://operator/metrics",
    ];
    assert_eq!(code(&socket)?, 200);
    world
        .host
        .sh(&format!(
            "curl -sS {} | promtool check metrics",
            socket.join(" ")
        ))
        .context("promtool rejects the metrics")?;
    world
        .host
        .sh("promtool check rules /opt/cb/manifests/prometheus/rules.yaml")?;
    Ok(())
}
