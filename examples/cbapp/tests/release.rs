//! Both programs as they are shipped: out of an assembled release folder, with
//! the environment of a tenant, over HTTP, until SIGTERM.

#![allow(
    clippy::disallowed_methods,
    reason = "a test writes its own throwaway files"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One tenant in a folder of its own.
struct Tenant {
    folder: TempDir,
    api_port: u16,
    frontend_port: u16,
}

/// A running service; killed if a test forgets it.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tenant {
    fn new() -> Tenant {
        Tenant {
            folder: tempfile::tempdir().unwrap(),
            api_port: free_port(),
            frontend_port: free_port(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn release(&self, version: &str) -> PathBuf {
        let out = self.path(version);
        let output = assemble(version, &out);
        assert!(output.status.success(), "{output:?}");
        out
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("CB_TENANT", "ky04")
            .env("CB_DISPLAY_NAME", "Kentucky <4th>")
            .env("CB_API_PORT", self.api_port.to_string())
            .env("CB_FRONTEND_PORT", self.frontend_port.to_string())
            .env("CB_DATABASE_PATH", self.path("tenant.duckdb"))
            .env("CB_UPLOADS_DIR", self.path("uploads"))
            .stdout(Stdio::piped());
        command
    }

    /// Starts a program and returns once it says that it listens.
    fn start(&self, program: &Path) -> Service {
        let mut service = Service(self.command(program).spawn().unwrap());
        let mut output = BufReader::new(service.0.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = output.read_line(&mut said).unwrap();
            assert!(read > 0, "{} ended: {said}", program.display());
        }
        service.0.stdout = Some(output.into_inner());
        service
    }
}

impl Service {
    /// Stops the service as systemd does; returns its exit code.
    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

fn assemble(version: &str, out: &Path) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("make-release.sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_cbapp-api")).parent().unwrap();
    Command::new(script)
        .args([Path::new(version), out, programs])
        .arg(env!("CBAPP_TEST_DUCKDB_LIB"))
        .output()
        .unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Status and body of the answer to a request.
fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn health(port: u16) -> (u16, Value) {
    let (status, body) = http(port, "GET", "/health", "");
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_tenant_is_served_and_its_data_outlives_a_new_version_of_the_code() {
    let tenant = Tenant::new();
    let first = tenant.release("v0.1.0");
    let api = tenant.start(&first.join("bin/cbapp-api"));
    let frontend = tenant.start(&first.join("bin/cbapp-frontend"));
    let expected =
        json!({"status": "ok", "tenant": "ky04", "version": "v0.1.0", "schemaVersion": 1});
    assert_eq!(health(tenant.api_port), (200, expected));

    let contact = json!({"name": "Ada <b>"}).to_string();
    let (status, _) = http(tenant.api_port, "POST", "/api/contacts", &contact);
    assert_eq!(status, 201);
    let (status, _) = http(tenant.api_port, "POST", "/api/uploads/walk.csv", "a,b\n");
    assert_eq!(status, 201);
    assert_eq!(fs::read(tenant.path("uploads/walk.csv")).unwrap(), b"a,b\n");
    let (status, page) = http(tenant.frontend_port, "GET", "/", "");
    assert_eq!(status, 200);
    for text in [
        "Kentucky &lt;4th&gt;",
        "Ada &lt;b&gt;",
        "walk.csv",
        "v0.1.0",
    ] {
        assert!(page.contains(text), "no {text} in {page}");
    }

    assert_eq!(api.stop(), Some(0));
    assert!(!tenant.path("tenant.duckdb.wal").exists());
    let (status, page) = http(tenant.frontend_port, "GET", "/", "");
    assert_eq!(status, 502, "{page}");
    assert_eq!(health(tenant.frontend_port).0, 200);
    assert_eq!(frontend.stop(), Some(0));

    // An existing database is migrated from outside, never by the start.
    let second = tenant.release("v0.2.0");
    assert!(second.join("migrations/0002_contact_email.sql").exists());
    let api = tenant.start(&second.join("bin/cbapp-api"));
    let (status, body) = health(tenant.api_port);
    assert_eq!(
        (status, &body["version"], &body["schemaVersion"]),
        (200, &json!("v0.2.0"), &json!(1))
    );
    let (_, count) = http(tenant.api_port, "GET", "/api/contacts/count", "");
    assert_eq!(count, r#"{"count":1}"#);
    assert_eq!(api.stop(), Some(0));
}

#[test]
fn a_release_with_a_fault_misbehaves_as_it_says() {
    let tenant = Tenant::new();
    let release = tenant.release("v0.1.0");
    let program = release.join("bin/cbapp-api");
    let fault = |name: &str| fs::write(release.join("FAULT"), name).unwrap();

    fault("unhealthy");
    let api = tenant.start(&program);
    assert_eq!(health(tenant.api_port).0, 503);
    assert_eq!(api.stop(), Some(0));

    fault("wrong-version");
    let api = tenant.start(&program);
    let (status, body) = health(tenant.api_port);
    assert_eq!((status, &body["version"]), (200, &json!("v0.1.0-wrong")));
    assert_eq!(api.stop(), Some(0));

    fault("exit-at-once");
    let output = tenant.command(&program).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_locked_database_makes_the_api_unhealthy_and_says_why() {
    let tenant = Tenant::new();
    let program = tenant.release("v0.1.0").join("bin/cbapp-api");
    let owner = tenant.start(&program);
    let second = Tenant {
        folder: tempfile::tempdir().unwrap(),
        ..Tenant::new()
    };
    let mut command = second.command(&program);
    command.env("CB_DATABASE_PATH", tenant.path("tenant.duckdb"));
    let mut other = Service(command.spawn().unwrap());
    let mut output = BufReader::new(other.0.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("listening on") {
        assert!(output.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let (status, body) = health(second.api_port);
    assert_eq!(status, 503);
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.contains("lock"), "{reason}");

    // It recovers by itself once the file is free.
    assert_eq!(owner.stop(), Some(0));
    assert_eq!(health(second.api_port).0, 200);
}

#[test]
fn a_release_is_never_changed_and_its_version_is_checked() {
    let tenant = Tenant::new();
    let release = tenant.release("v0.1.0");
    let again = assemble("v0.1.0", &release);
    assert!(!again.status.success());
    let wrong = assemble("0.1", &tenant.path("wrong"));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("must look like v0.1.0"));
    assert!(!tenant.path("wrong").exists());
}
