//! A service for tests that need many tenants or odd behaviour and no
//! database: it answers `GET /health` with its release's version and every
//! other request with one line about itself.
//!
//! ```text
//! tinyapp PORT
//! ```
//!
//! `TINYAPP_FAULT` makes it misbehave: `exit` ends it at once, `unhealthy`
//! answers 503 to health checks, `deaf` never listens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

fn main() {
    let fault = std::env::var("TINYAPP_FAULT").unwrap_or_default();
    if fault == "exit" {
        eprintln!("ending at once, as asked");
        std::process::exit(3);
    }
    let port: u16 = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("usage: tinyapp PORT");
    if fault == "deaf" {
        loop {
            std::thread::park();
        }
    }
    let version = version();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        // A client that went away is no reason to end.
        let _ = answer(stream, &version, fault == "unhealthy");
    }
}

fn version() -> String {
    let executable = std::env::current_exe().expect("a program knows its path");
    let release = executable
        .parent()
        .and_then(Path::parent)
        .expect("it is in RELEASE/bin");
    let version = std::fs::read_to_string(release.join("VERSION")).unwrap_or_default();
    version.trim().to_owned()
}

/// What is in a credential (`/credential/NAME`), or in a file (`/file/PATH`).
fn read(path: &str) -> (&'static str, String) {
    let file = match path.strip_prefix("/credential/") {
        Some(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_default();
            Path::new(&folder).join(name)
        }
        None => Path::new(path.trim_start_matches("/file")).to_owned(),
    };
    match std::fs::read(file) {
        Ok(content) => ("200 OK", String::from_utf8_lossy(&content).into_owned()),
        Err(error) => ("404 Not Found", format!("{error}\n")),
    }
}

fn answer(mut stream: TcpStream, version: &str, unhealthy: bool) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (status, body) = match path {
        "/health" if unhealthy => (
            "503 Service Unavailable",
            "{\"status\":\"unavailable\"}".to_owned(),
        ),
        "/health" => (
            "200 OK",
            format!("{{\"status\":\"ok\",\"version\":\"{version}\",\"schemaVersion\":1}}"),
        ),
        "/env" => (
            "200 OK",
            std::env::vars()
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect(),
        ),
        _ if path.starts_with("/credential/") || path.starts_with("/file/") => read(path),
        _ => (
            "200 OK",
            format!("{} {version} on {path}\n", variable("CB_TENANT")),
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
