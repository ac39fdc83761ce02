//! `cbctl source`: which commit the manifests are, and what waits for a person.

use cb_core::types::CommitId;
use serde_json::json;

use crate::cli::{Context, Done};
use crate::client::source::{Git, Shown};
use crate::error::CommandError;
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the newest commit is in effect, 1 it is not.

Examples:
  cbctl source status
  cbctl source status -o json
  cbctl source sync
  cbctl source accept 8d1f0c2b…"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show which commit is in effect, and why the newest is not
    Status,
    /// Look for a new commit now
    Sync,
    /// Have a commit take effect that rewrote history or removes many tenants
    Accept {
        /// The commit, in full, as `cbctl source status` shows it
        commit: CommitId,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let shown = match &args.command {
        Command::Status => context.client.source().await?,
        Command::Sync => context.client.sync_source().await?,
        Command::Accept { commit } => context.client.accept_commit(commit.as_str()).await?,
    };
    if let Some(format) = context.output {
        context.ui.print(&document(&json!(shown), format)?);
    }
    let Shown { git, folder } = shown;
    let Some(git) = git else {
        let folder = folder.unwrap_or_default();
        let line = format!("The manifests are the files in {}", one_line(&folder));
        if context.output.is_none() {
            context.ui.line(&line);
        }
        return Ok(0);
    };
    if context.output.is_none() {
        context.ui.print(&text(&git));
    }
    match git.state.as_str() {
        "Current" => Ok(0),
        _ if context.output.is_some() => Ok(1),
        // What is wrong was printed with it.
        _ => Err(CommandError::said()),
    }
}

/// The status for a person.
fn text(git: &Git) -> String {
    let status = &git.status;
    let mut lines = Vec::new();
    // A line without a name goes on with the one above.
    let mut line = |name: &str, value: &str| {
        let name = match name {
            "" => String::new(),
            name => format!("{name}:"),
        };
        lines.push(format!("{name:<13}{}\n", one_line(value)));
    };
    line("Repository", status.repository.as_str());
    line("Ref", status.reference.as_str());
    if let Some(path) = &status.path {
        line("Path", path.as_str());
    }
    line("State", &git.state);
    match &status.applied {
        Some(applied) => {
            line("Applied", applied.commit.id.as_str());
            let mut words = applied.commit.subject.clone();
            if !applied.commit.author.is_empty() {
                words.push_str(&format!(" ({})", applied.commit.author));
            }
            line("", &words);
            line("", &format!("since {}", applied.at));
        }
        None => line("Applied", "nothing yet"),
    }
    if let Some(refused) = &status.refused {
        line("Refused", refused.commit.id.as_str());
        line("", &refused.commit.to_string());
        line("Reason", refused.why.as_str());
        for message in &refused.messages {
            line("", message);
        }
    }
    if let Some(unreachable) = &status.unreachable {
        line("Unreachable", &unreachable.message);
        line("", &format!("since {}", unreachable.since));
    }
    if let Some(hint) = &git.hint {
        line("Do", hint);
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 12: the commit, its place in the repository, and what to do.
    #[test]
    fn a_refused_commit_is_told_with_what_to_do() {
        let applied = "a".repeat(40);
        let refused = "b".repeat(40);
        let git: Git = serde_json::from_value(json!({
            "repository": "/srv/fleet", "ref": "main", "path": "hosts/web1",
            "state": "HistoryLost", "hint": "accept it",
            "applied": {"commit": {"id": applied, "subject": "first", "author": "dev"}, "at": "2026-11-25T00:00:00Z"},
            "refused": {
                "commit": {"id": refused, "subject": "two\u{1b}[31m"}, "why": "HistoryLost",
                "messages": ["it does not build on the other"], "since": "2026-11-25T00:01:00Z",
            },
        }))
        .unwrap();
        let text = text(&git);
        let wanted = format!(
            "Repository:  /srv/fleet\nRef:         main\nPath:        hosts/web1\n\
             State:       HistoryLost\nApplied:     {applied}\n             first (dev)\n             \
             since 2026-11-25T00:00:00Z\nRefused:     {refused}\n"
        );
        assert!(text.starts_with(&wanted), "{text}");
        assert!(
            text.contains(
                "\n             it does not build on the other\nDo:          accept it\n"
            ),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
