//! The test host itself is what the other tests take it for.

use std::time::Duration;

use anyhow::Result;
use cb_testhost::cache::Artifacts;
use cb_testhost::{Options, TestHost};
use serde_json::json;

const SERVICE: &str = "\
systemd-run --quiet --unit=smoke-api --property=DynamicUser=yes --property=StateDirectory=smoke \
    --setenv=CB_TENANT=smoke --setenv=PORT=32301 \
    --setenv=CB_DATABASE_PATH=/var/lib/smoke/tenant.duckdb \
    --setenv=CB_UPLOADS_DIR=/var/lib/smoke/uploads \
    /opt/cb/releases/v0.1.0/bin/cbapp-api";

#[test]
fn two_hosts_side_by_side_run_the_example_application() -> Result<()> {
    let artifacts = Artifacts::of_this_checkout()?;
    let options = |name| Options::new(name).artifacts(&artifacts);
    let hosts = TestHost::boot_all(vec![options("left"), options("right")])?;
    for host in &hosts {
        assert_eq!(host.sh("systemctl is-system-running")?, "running\n");
        assert_eq!(
            host.sh("systemctl is-active nginx dbus")?,
            "active\nactive\n"
        );
        assert_eq!(host.sh("hostname")?.trim(), host.name());
        assert_eq!(host.curl(&["http://localhost/"])?.status, 200);
        // The same port on both: each has a network of its own.
        host.sh(SERVICE)?;
    }
    for host in &hosts {
        let health = host.wait_until("the api answers", Duration::from_secs(30), || {
            host.curl(&["http://127.0.0.1:32301/health"])
        })?;
        assert_eq!(health.status, 200, "{health:?}");
        assert_eq!(
            health.json(),
            json!({"status": "ok", "tenant": "smoke", "version": "v0.1.0", "schemaVersion": 1})
        );
    }
    // What one does to its services is nothing to the other.
    hosts[0].sh("systemctl stop smoke-api nginx")?;
    assert_eq!(
        hosts[1].sh("systemctl is-active smoke-api nginx")?,
        "active\nactive\n"
    );
    let journal = hosts[0].journal("smoke-api");
    assert!(
        journal.contains("stopped, the database is closed"),
        "{journal}"
    );
    Ok(())
}
