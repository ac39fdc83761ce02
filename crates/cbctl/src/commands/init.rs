//! `cbctl init`: a first Host, Application and Tenant, asked of a person on a
//! terminal or taken from the command line.
//!
//! Nothing that exists is overwritten, and what is written was checked as the
//! operator checks it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use cb_core::manifest::{self, cross};
use serde_json::{Value, json};

use super::{refuse, texts};
use crate::cli::{Context, Done};
use crate::error::{CommandError, plain};
use crate::files;
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal what is not given is asked for. It writes FOLDER/host.yaml and
FOLDER/manifests/*.yaml, and nothing that exists is overwritten.

Example:
  cbctl init --folder /etc/cb --application cbapp --release v1=/srv/cbapp/v1 \\
      --service api=bin/api --service frontend=bin/frontend --tenant ky04 --domain ky04.example.org"
)]
pub(crate) struct Args {
    /// The folder that they are written to
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cb")]
    folder: PathBuf,
    /// The name of the Host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The name of the Application
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Its first version and the folder that has it
    #[arg(long, value_name = "VERSION=FOLDER", value_parser = pair)]
    release: Option<(String, String)>,
    /// A service and its program in the release; the first is served at /api/,
    /// the last at /
    #[arg(long, value_name = "NAME=PROGRAM", value_parser = pair)]
    service: Vec<(String, String)>,
    /// The path of every service's health check
    #[arg(long, value_name = "PATH", default_value = "/health")]
    health: String,
    /// The name of the first tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Its domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let answers = Answers::of(args)?;
    let written: Vec<(PathBuf, String)> = answers
        .objects()
        .into_iter()
        .map(|(file, object)| Ok((args.folder.join(file), document(&object, Format::Yaml)?)))
        .collect::<Result<_, CommandError>>()?;
    check(&written, context)?;
    if let Some((path, _)) = written.iter().find(|(path, _)| path.exists()) {
        let message = format!("{} exists; nothing was written", path.display());
        return Err(CommandError::failed(message).hint("give another --folder, or other names"));
    }
    for (path, text) in &written {
        files::create(path, text, 0o644).map_err(|error| {
            CommandError::failed(format!(
                "cannot write {}: {}",
                path.display(),
                plain(&error)
            ))
        })?;
        context.ui.line(&format!("{} written", path.display()));
    }
    for line in next(&args.folder) {
        context.ui.note(&line);
    }
    Ok(0)
}

/// What is to be done then.
fn next(folder: &Path) -> Vec<String> {
    if folder == Path::new("/etc/cb") {
        return vec!["next: `cbctl doctor`, then `systemctl enable --now cb-operator`".into()];
    }
    let folder = folder.display();
    vec![
        format!("next: `cbctl validate {folder}`, and put them in /etc/cb, where the operator"),
        "reads them; `cbctl doctor` says whether the machine is ready".into(),
    ]
}

/// Everything that has to be known.
#[derive(Debug)]
struct Answers {
    host: String,
    application: String,
    release: (String, String),
    services: Vec<(String, String)>,
    health: String,
    tenant: String,
    domain: String,
}

impl Answers {
    fn of(args: &Args) -> Result<Self, CommandError> {
        let mut ask = Asking::new();
        let answers = Self {
            host: ask.text(
                "--host",
                "Name of this host",
                args.host.as_ref(),
                "this-host",
            )?,
            application: ask.text(
                "--application",
                "Name of the application",
                args.application.as_ref(),
                "cbapp",
            )?,
            release: ask.pair(
                "--release",
                "Its first version and the folder that has it",
                args.release.as_ref(),
                "v1=/srv/cbapp/v1",
            )?,
            services: match args.service.is_empty() {
                false => args.service.clone(),
                true => vec![
                    ask.pair(
                        "--service",
                        "The service behind /api/, and its program in the release",
                        None,
                        "api=bin/api",
                    )?,
                    ask.pair(
                        "--service",
                        "The service behind /, and its program",
                        None,
                        "frontend=bin/frontend",
                    )?,
                ],
            },
            health: args.health.clone(),
            tenant: ask.text(
                "--tenant",
                "Name of the first tenant",
                args.tenant.as_ref(),
                "",
            )?,
            domain: ask.text("--domain", "Its domain", args.domain.as_ref(), "")?,
        };
        ask.done()?;
        Ok(answers)
    }

    /// The objects and the files that they are written to.
    fn objects(&self) -> Vec<(String, Value)> {
        let api_version = cb_core::api::API_VERSION;
        let last = self.services.len().saturating_sub(1);
        let services: Vec<Value> = self
            .services
            .iter()
            .enumerate()
            .map(|(n, (name, program))| {
                json!({"name": name, "command": program, "portOffset": last - n,
                       "healthCheck": {"path": self.health}})
            })
            .collect();
        let mut routes: Vec<Value> = Vec::new();
        if let Some((name, _)) = self.services.last() {
            routes.push(json!({"path": "/", "service": name}));
        }
        if let Some((name, _)) = self.services.first().filter(|_| last > 0) {
            routes.push(json!({"path": "/api/", "service": name}));
        }
        let (version, folder) = &self.release;
        let application = json!({
            "apiVersion": api_version, "kind": "Application",
            "metadata": {"name": self.application},
            "spec": {
                "versions": [{"name": version, "folder": {"path": folder}}],
                "services": services,
                "routes": routes,
            },
        });
        let tenant = json!({
            "apiVersion": api_version, "kind": "Tenant",
            "metadata": {"name": self.tenant},
            "spec": {"application": self.application, "version": version,
                     "domains": [self.domain]},
        });
        let host = json!({
            "apiVersion": api_version, "kind": "Host",
            "metadata": {"name": self.host}, "spec": {},
        });
        vec![
            ("host.yaml".into(), host),
            (
                format!("manifests/application-{}.yaml", self.application),
                application,
            ),
            (format!("manifests/{}.yaml", self.tenant), tenant),
        ]
    }
}

/// Asks on a terminal; elsewhere collects what was not given.
struct Asking {
    terminal: bool,
    missing: Vec<&'static str>,
}

impl Asking {
    fn new() -> Self {
        Self {
            terminal: io::stdin().is_terminal() && io::stderr().is_terminal(),
            missing: Vec::new(),
        }
    }

    fn text(
        &mut self,
        flag: &'static str,
        question: &str,
        given: Option<&String>,
        default: &str,
    ) -> Result<String, CommandError> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        if self.terminal {
            return ask(question, default);
        }
        if default.is_empty() {
            self.missing.push(flag);
        }
        Ok(default.to_owned())
    }

    fn pair(
        &mut self,
        flag: &'static str,
        question: &str,
        given: Option<&(String, String)>,
        default: &str,
    ) -> Result<(String, String), CommandError> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        if !self.terminal {
            // A release or a program cannot be guessed.
            if !self.missing.contains(&flag) {
                self.missing.push(flag);
            }
            return Ok((String::new(), String::new()));
        }
        loop {
            match pair(&ask(question, default)?) {
                Ok(pair) => return Ok(pair),
                Err(why) => drop(writeln!(io::stderr(), "{why}")),
            }
        }
    }

    fn done(self) -> Result<(), CommandError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let message = format!("without a terminal, give {}", self.missing.join(", "));
        Err(CommandError::usage(message).hint("`cbctl init --help` has an example"))
    }
}

/// Asks until there is an answer.
fn ask(question: &str, default: &str) -> Result<String, CommandError> {
    loop {
        let shown = match default {
            "" => format!("{question}: "),
            default => format!("{question} [{default}]: "),
        };
        let mut out = io::stderr().lock();
        let _ = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        match read.map(|bytes| (bytes, line.trim())) {
            Ok((0, _)) => return Err(CommandError::failed("cancelled; nothing was written")),
            Ok((_, "")) if default.is_empty() => {}
            Ok((_, "")) => return Ok(default.to_owned()),
            Ok((_, answer)) => return Ok(answer.to_owned()),
            Err(error) => {
                let message = format!("cannot read an answer: {}", plain(&error));
                return Err(CommandError::failed(message));
            }
        }
    }
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME=VALUE".into()),
    }
}

/// Law 12: a bad answer is refused before anything is written.
fn check(written: &[(PathBuf, String)], context: &Context) -> Result<(), CommandError> {
    let files: Vec<manifest::File> = written
        .iter()
        .map(|(path, text)| manifest::parse(&path.display().to_string(), text.as_bytes()))
        .collect();
    let mut errors: Vec<_> = files.iter().flat_map(|file| file.errors.clone()).collect();
    if errors.is_empty() {
        let between = cross::check(&files).into_iter();
        errors.extend(between.filter(|d| d.severity == manifest::Severity::Error));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(refuse(&context.ui, &texts(&errors), "nothing was written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_valid() {
        let text = |text: &str| text.to_owned();
        let answers = Answers {
            host: text("web1"),
            application: text("cbapp"),
            release: (text("v1"), text("/srv/cbapp/v1")),
            services: vec![
                (text("api"), text("bin/api")),
                (text("frontend"), text("bin/frontend")),
            ],
            health: text("/health"),
            tenant: text("ky04"),
            domain: text("ky04.example.org"),
        };
        let files: Vec<manifest::File> = answers
            .objects()
            .into_iter()
            .map(|(file, object)| {
                let text = document(&object, Format::Yaml).unwrap();
                manifest::parse(&file, text.as_bytes())
            })
            .collect();
        for file in &files {
            assert!(file.errors.is_empty(), "{:?}", file.errors);
        }
        assert!(cross::check(&files).is_empty());
    }
}
