//! One tenant on a throwaway host, with a database, releases and backups.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cb_core::api::{HostSpec, TenantSpec};
use cb_core::backup::BackupCause;
use cb_core::database::{
    BackupOrder, Database, Job, JobError, Migrate, MigrateWith, Progress, Report,
};
use cb_core::layout::{Layout, user_name};
use cb_core::types::TenantName;
use cb_host::{Host, SystemHost};
use cb_testhost::Options;
use serde_json::Value;

use crate::support::run_inside;
pub(crate) use crate::support::sh;

const BIN: &str = "/opt/cb/bin";
pub(crate) const FILE: &str = "/var/lib/cb/tenants/ky04/db/tenant.duckdb";
pub(crate) const BACKUPS: &str = "/var/lib/cb/backups/ky04";

/// Runs `work` inside a throwaway host.
pub(crate) fn on_host<F: Future<Output = ()>>(test: &str, work: impl FnOnce() -> F) {
    on_host_with(test, |options| options, work);
}

/// As [`on_host`], with a host of another kind.
pub(crate) fn on_host_with<F: Future<Output = ()>>(
    test: &str,
    kind: impl FnOnce(Options) -> Options,
    work: impl FnOnce() -> F,
) {
    let helper = format!("CB_DUCKDB={BIN}/cb-duckdb");
    run_inside(test, || options(kind), &[&helper], work);
}

/// A host with what is built beside this program.
fn options(kind: impl FnOnce(Options) -> Options) -> Options {
    let program = std::env::current_exe().unwrap();
    let built = program.parent().and_then(Path::parent).unwrap();
    let library = std::env::var("DUCKDB_LIB_DIR");
    let library = library.expect("DUCKDB_LIB_DIR is set; `cargo xtask test` does so");
    let mut options = kind(Options::new("databases"));
    for (from, name) in [
        (built.join("cb-duckdb"), "cb-duckdb"),
        (built.join("examples/writer"), "writer"),
        (Path::new(&library).join("libduckdb.so"), "libduckdb.so"),
    ] {
        let shown = from.display();
        assert!(
            from.exists(),
            "{shown} is missing; `cargo test -p cb-duckdb --no-run` builds it"
        );
        options = options.bind_ro(shown, &format!("{BIN}/{name}"));
    }
    options
}

/// What a script prints that the tenant's user runs.
pub(crate) fn as_tenant(script: &str) -> String {
    let script = script.replace('\'', r"'\''");
    sh(&format!(
        "cd /; setpriv --reuid=cb-ky04 --regid=cb-ky04 --clear-groups env PATH={BIN}:$PATH sh -euc '{script}'"
    ))
}

/// A tenant and the host it is on.
pub(crate) struct World {
    pub(crate) host: SystemHost,
    pub(crate) database: Database,
    told: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// A tenant without a database.
    pub(crate) async fn new() -> World {
        sh("getent passwd cb-ky04 >/dev/null || useradd --system --user-group --no-create-home cb-ky04
            mkdir -p /var/lib/cb/tenants/ky04 /etc/cb/tenants/ky04
            chmod 711 /var/lib/cb/tenants; chmod 755 /var/lib/cb/tenants/ky04
            install -d -m 700 -o cb-ky04 -g cb-ky04 /var/lib/cb/tenants/ky04/db
            (umask 077; echo SECRET=hush >/etc/cb/tenants/ky04/.env)");
        let spec = HostSpec::default();
        let tenant: TenantName = "ky04".parse().unwrap();
        let layout = Layout::new(&spec);
        let database = Database {
            user: user_name(&tenant),
            file: layout.database(&tenant).join("tenant.duckdb"),
            backups: layout.backups().join(tenant.as_str()),
            env_file: layout.env_file(&tenant),
            credentials: layout.credentials(&tenant),
            timeout: Duration::from_secs(60),
            memory: 512 << 20,
            table: Some("schema_migrations".parse().unwrap()),
            version_command: None,
            tenant,
        };
        World {
            host: SystemHost::start(&spec).await.unwrap(),
            database,
            told: Arc::default(),
        }
    }

    /// A tenant with a database that has [`TWO`] migrations.
    pub(crate) async fn migrated() -> World {
        let world = World::new().await;
        world.sql("CREATE TABLE seed (a INTEGER)");
        let migrate = world.files("v1", &TWO);
        world.run(Job::Migrate(migrate)).await.unwrap();
        world
    }

    /// Runs SQL as a service does that is killed: it stays in the log.
    pub(crate) fn sql(&self, sql: &str) {
        as_tenant(&format!("writer {FILE} \"{sql}\" </dev/null"));
    }

    pub(crate) async fn run(&self, job: Job) -> Result<Report, JobError> {
        let told = Arc::clone(&self.told);
        let progress: Progress = Arc::new(move |line| told.lock().unwrap().push(line));
        self.host.database(&self.database, &job, &progress).await
    }

    /// What was told of progress since the last time.
    pub(crate) fn told(&self) -> String {
        std::mem::take(&mut *self.told.lock().unwrap()).join("\n")
    }

    /// What is in the database: the digest and the number of rows by table. The
    /// file and its log are left as they are.
    pub(crate) fn content(&self) -> (String, BTreeMap<String, u64>) {
        let text = as_tenant(&format!("cb-duckdb digest {FILE}"));
        let document: Value = serde_json::from_str(&text).unwrap();
        let content = &document["content"];
        let tables = content["tables"].as_array().unwrap();
        let rows = |table: &Value| {
            let name = table["name"].as_str().unwrap().to_owned();
            (name, table["rows"].as_u64().unwrap())
        };
        let digest = content["digest"].as_str().unwrap().to_owned();
        (digest, tables.iter().map(rows).collect())
    }

    /// A release with these SQL files; how to migrate to it.
    pub(crate) fn files(&self, version: &str, files: &[(&str, &str)]) -> Migrate {
        let release = release(version);
        let folder = release.join("migrations");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, sql) in files {
            std::fs::write(folder.join(name), sql).unwrap();
        }
        let table = "schema_migrations".parse().unwrap();
        migrate(version, MigrateWith::Files { folder, table })
    }

    /// A release with this script; how to migrate to it.
    pub(crate) fn command(&self, version: &str, script: &str) -> Migrate {
        let release = release(version);
        std::fs::create_dir_all(&release).unwrap();
        let program = release.join("migrate");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        sh(&format!("chmod 755 {}", program.display()));
        let command = serde_yaml::from_str("{program: migrate, args: [up]}").unwrap();
        migrate(version, MigrateWith::Command(command))
    }
}

fn release(version: &str) -> PathBuf {
    Path::new("/var/lib/cb/releases/cbapp").join(version)
}

fn migrate(version: &str, with: MigrateWith) -> Migrate {
    Migrate {
        application: "cbapp".parse().unwrap(),
        version: version.parse().unwrap(),
        release: release(version),
        with,
    }
}

/// Two migrations, which make a table `t` and fill it.
pub(crate) const TWO: [(&str, &str); 2] = [
    ("0001_init.sql", "CREATE TABLE t (id BIGINT, name VARCHAR);"),
    (
        "0002_fill.sql",
        "INSERT INTO t SELECT i, 'row ' || i FROM range(1000) r(i);",
    ),
];

pub(crate) fn order(id: &str) -> BackupOrder {
    let spec: TenantSpec = serde_yaml::from_str("{application: cbapp, version: v1}").unwrap();
    BackupOrder {
        id: id.parse().unwrap(),
        cause: BackupCause::Request,
        spec,
        schema_version: None,
        even_damaged: false,
    }
}

pub(crate) fn restore(id: Option<&str>, keep_as: &str) -> Job {
    Job::Restore {
        backup: id.map(|id| id.parse().unwrap()),
        keep_as: keep_as.to_owned(),
    }
}

/// Nothing of a job is left but what it was to leave.
pub(crate) fn assert_nothing_left() {
    let units = sh("systemctl list-units --all --no-legend --plain 'cb_*'");
    assert_eq!(units, "");
    let staging = sh(&format!("ls -A {BACKUPS}/.staging 2>/dev/null || true"));
    assert_eq!(staging, "");
}
