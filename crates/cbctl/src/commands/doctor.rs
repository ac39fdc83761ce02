//! `cbctl doctor`: whether this machine is fit for the operator, and how to
//! mend what is not.
//!
//! It looks and changes nothing, but for one file that it makes and removes to
//! see whether the file system can share blocks.

mod checks;
mod system;

use serde::Serialize;
use serde_json::json;

use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::output::{Colour, Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong, or only warnings; 1 something has FAIL.

Examples:
  cbctl doctor
  cbctl doctor -o json"
)]
pub(crate) struct Args {
    /// The file of the Host
    #[arg(long, value_name = "FILE", default_value = "/etc/cb/host.yaml")]
    host: std::path::PathBuf,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with less than there could be.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn word(self) -> (&'static str, Colour) {
        match self {
            Verdict::Ok => ("OK", Colour::Green),
            Verdict::Warn => ("WARN", Colour::Bold),
            Verdict::Fail => ("FAIL", Colour::Red),
        }
    }
}

/// What one look found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            mend: None,
        }
    }

    pub(super) fn warn(
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warn,
            mend: Some(mend.into()),
            ..Self::ok(check, found)
        }
    }

    pub(super) fn fail(
        check: &'static str,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(check, found, mend)
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let findings = checks::all(&args.host, &context.client).await;
    match context.output {
        Some(format) => {
            let text = document(&json!({"checks": findings}), format)?;
            context.ui.print(&text);
        }
        None => findings.iter().for_each(|finding| show(finding, context)),
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .count();
    match failed {
        0 => Ok(0),
        n => Err(CommandError::failed(format!(
            "{} of {} failed",
            n,
            super::plural(findings.len(), "check")
        ))),
    }
}

fn show(finding: &Finding, context: &Context) {
    let (word, colour) = finding.verdict.word();
    let word = context.ui.paint(colour, &format!("{word:<5}"));
    let found = one_line(&finding.found);
    context
        .ui
        .line(&format!("{word} {:<18} {found}", finding.check));
    if let Some(mend) = &finding.mend {
        let mend = one_line(mend);
        context.ui.line(&format!("{:<25}{mend}", ""));
    }
}
