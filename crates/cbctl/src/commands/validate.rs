//! `cbctl validate`: everything that is wrong with manifests, without an
//! operator.
//!
//! Files are checked each by itself and against each other. References to an
//! Application are checked if one is among the files.

use std::path::PathBuf;

use cb_core::manifest::{self, Diagnostic, Severity, cross, exceptions};
use serde_json::json;

use super::plural;
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::manifests::{self, Files, Folders};
use crate::output::{Format, clean, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Folders are read as the operator reads its own, with all folders in them.

Examples:
  cbctl validate manifests/
  cbctl validate ky04.yaml oh09.yaml -o json"
)]
pub(crate) struct Args {
    /// Files and folders of manifests, or `-` for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    more: Files,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let filename: Vec<PathBuf> = args
        .files
        .iter()
        .chain(&args.more.filename)
        .cloned()
        .collect();
    if filename.is_empty() {
        return Err(CommandError::usage("you must say which files")
            .hint("cbctl validate FILE…, or `-` for standard input"));
    }
    let files = Files {
        filename,
        recursive: args.more.recursive,
    };
    let sources = manifests::read(&files, Folders::Operator)?;
    let files: Vec<manifest::File> = sources.into_iter().map(|source| source.file).collect();
    let found = diagnostics(&files);
    let objects = files.iter().map(|file| file.documents.len()).sum();
    match context.output {
        Some(format) => {
            let report = report(&files, objects, &found);
            context.ui.print(&document(&report, format)?);
        }
        None => {
            for diagnostic in &found {
                context.ui.line(&clean(&diagnostic.to_string()));
            }
        }
    }
    let bad: Vec<&Diagnostic> = found
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .collect();
    if bad.is_empty() {
        if context.output.is_none() {
            let (verb, n) = if objects == 1 {
                ("is", 1)
            } else {
                ("are", objects)
            };
            let (objects, files) = (plural(n, "object"), plural(files.len(), "file"));
            context
                .ui
                .line(&format!("{objects} in {files} {verb} valid"));
        }
        return Ok(0);
    }
    let mut bad_files: Vec<&str> = bad.iter().map(|d| d.file.as_str()).collect();
    bad_files.sort_unstable();
    bad_files.dedup();
    Err(CommandError::failed(format!(
        "{} in {} of {}",
        plural(bad.len(), "error"),
        bad_files.len(),
        plural(files.len(), "file")
    )))
}

/// Everything about the files, in the order of the files and of their text.
fn diagnostics(files: &[manifest::File]) -> Vec<Diagnostic> {
    let mut between = cross::check(files);
    between.extend(exceptions::list(files));
    let mut out = Vec::new();
    for file in files {
        let mut of_file = file.errors.clone();
        let (here, rest) = between
            .into_iter()
            .partition(|d: &Diagnostic| d.file == file.file);
        between = rest;
        of_file.extend(here);
        of_file.sort_by_key(|diagnostic| diagnostic.position);
        out.extend(of_file);
    }
    out.extend(between);
    out
}

fn report(files: &[manifest::File], objects: usize, found: &[Diagnostic]) -> serde_json::Value {
    let diagnostics: Vec<serde_json::Value> = found
        .iter()
        .map(|d| {
            json!({
                "severity": match d.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "file": d.file,
                "line": d.position.map(|at| at.line),
                "column": d.position.map(|at| at.column),
                "field": d.path.to_string(),
                "message": d.message,
                "hint": d.hint,
                "kind": d.kind,
                "name": d.name,
            })
        })
        .collect();
    json!({
        "valid": found.iter().all(|d| d.severity != Severity::Error),
        "files": files.len(),
        "objects": objects,
        "diagnostics": diagnostics,
    })
}
