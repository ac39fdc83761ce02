//! The commands, one file each.

pub(crate) mod alerts;
pub(crate) mod api_resources;
pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod edit;
pub(crate) mod events;
pub(crate) mod explain;
mod follow;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod kubeconfig;
pub(crate) mod label;
pub(crate) mod logs;
pub(crate) mod patch;
pub(crate) mod ports;
pub(crate) mod render;
pub(crate) mod restore;
pub(crate) mod rollout;
pub(crate) mod source;
pub(crate) mod suspend;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod validate;
pub(crate) mod version;
mod wait;
pub(crate) mod wait_for;

use cb_core::manifest::Diagnostic;
use clap::ValueEnum;

use crate::client::api::PlanError;
use crate::error::CommandError;
use crate::output::{Ui, one_line};

/// Whether anything is really changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DryRun {
    /// Change it
    None,
    /// Only look at what there is
    Client,
    /// Let the operator judge it and change nothing
    Server,
}

impl DryRun {
    /// What is added to a result.
    fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// Says everything that is wrong with files, and that therefore nothing is
/// done (law 12).
fn refuse(ui: &Ui, errors: &[String], consequence: &str) -> CommandError {
    for error in errors {
        ui.note(error);
    }
    let what = plural(errors.len(), "error");
    CommandError::failed(format!("{what}; {consequence}"))
}

fn texts(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// What the operator found wrong, in the form of a [`Diagnostic`].
fn plan_error(error: &PlanError) -> String {
    let mut out = one_line(&error.file);
    if let Some(line) = error.line {
        out.push_str(&format!(":{line}:{}", error.column.unwrap_or(1)));
    }
    out.push_str(": ");
    if !error.field.is_empty() {
        out.push_str(&format!("{}: ", error.field));
    }
    out.push_str(&one_line(&error.message));
    if let Some(hint) = &error.hint {
        out.push_str(&format!(" ({})", one_line(hint)));
    }
    out
}

/// `1 error`, `2 errors`.
fn plural(n: usize, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {word}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_finds_reads_like_what_is_found_here() {
        let mut error = PlanError {
            file: "a.yaml".into(),
            line: Some(3),
            column: Some(7),
            field: "spec.version".into(),
            message: "there is no v9".into(),
            hint: Some("did you mean `v8`?".into()),
        };
        assert_eq!(
            plan_error(&error),
            "a.yaml:3:7: spec.version: there is no v9 (did you mean `v8`?)"
        );
        error.line = None;
        error.field.clear();
        error.hint = None;
        assert_eq!(plan_error(&error), "a.yaml: there is no v9");
    }
}
