//! What differs now, for `cbctl drift`: the planner's word, since when it is
//! seen, and changed files as text.
//!
//! Values of environment variables are not shown (law 11): a line that sets
//! one is reduced to its name, and marked if the value differs.

use std::collections::{BTreeMap, BTreeSet};

use cb_core::api::TenantStatus;
use cb_core::desired::ManagedFile;
use cb_core::drift::{DriftKind, DriftStatus};
use cb_core::plan::{Action, Cause, Plan};
use cb_host::files::FileCache;
use similar::TextDiff;

use crate::api::PlanDrift;

/// What a plan does not tell: it takes an answer of the application, or time.
const OF_STATUS: [DriftKind; 2] = [DriftKind::SchemaChanged, DriftKind::ServiceNotListening];

/// What differs of a tenant. While a change waits to be applied, that is what
/// was seen last.
pub(super) async fn found(plan: &Plan, status: Option<&TenantStatus>) -> Vec<PlanDrift> {
    let seen = status.map_or(&[][..], |status| &status.drift);
    let mut drifts = DriftStatus::of(&plan.drifts, seen, &crate::now());
    let changes = plan.steps.iter().any(|step| step.cause == Cause::Change);
    let of_status = |kind: &str| OF_STATUS.iter().any(|known| known.as_str() == kind);
    let more = seen.iter().filter(|drift| {
        let known = drifts
            .iter()
            .any(|other| (&other.kind, &other.what) == (&drift.kind, &drift.what));
        !known && (changes || of_status(&drift.kind))
    });
    let more: Vec<DriftStatus> = more.cloned().collect();
    drifts.extend(more);
    let files: Vec<Option<ManagedFile>> = drifts
        .iter()
        .map(|drift| content_of(drift, plan).cloned())
        .collect();
    let texts = tokio::task::spawn_blocking(move || {
        let text = |file: Option<ManagedFile>| file.map_or_else(String::new, |file| text(&file));
        files.into_iter().map(text).collect::<Vec<_>>()
    });
    // A reading that panics leaves the differences without their texts.
    let texts = texts.await.unwrap_or_default();
    let texts = texts.into_iter().chain(std::iter::repeat(String::new()));
    let with_text = |(drift, diff)| PlanDrift { drift, diff };
    drifts.into_iter().zip(texts).map(with_text).collect()
}

/// What differs of the host itself.
pub(super) fn of_host(drifts: Vec<DriftStatus>) -> Vec<PlanDrift> {
    let shown = drifts.into_iter().map(|drift| PlanDrift {
        drift,
        diff: String::new(),
    });
    shown.collect()
}

/// The file that a changed content is to be written with.
fn content_of<'a>(drift: &DriftStatus, plan: &'a Plan) -> Option<&'a ManagedFile> {
    let kinds = [
        DriftKind::UnitChanged,
        DriftKind::FileChanged,
        DriftKind::SiteChanged,
    ];
    if !kinds.iter().any(|kind| kind.as_str() == drift.kind) {
        return None;
    }
    let files = plan.steps.iter().filter_map(|step| match &step.action {
        Action::WriteFile(file) | Action::WriteUnit(file) | Action::WriteSite(file) => Some(file),
        Action::EnsureUser { file, .. } => Some(file),
        _ => None,
    });
    let mut files = files.filter(|file| file.path.as_os_str() == drift.what.as_str());
    files.next()
}

fn text(file: &ManagedFile) -> String {
    let found = FileCache::content(&file.path).unwrap_or_default();
    let is_env = file.path.ends_with(".env");
    diff(&file.content, &String::from_utf8_lossy(&found), is_env)
}

/// A unified diff from what was applied to what is there.
fn diff(applied: &str, found: &str, is_env: bool) -> String {
    let (old, new) = (settings(applied, is_env), settings(found, is_env));
    let changed: BTreeSet<&str> = new
        .iter()
        .filter(|(name, value)| old.get(*name).is_some_and(|old| old != *value))
        .map(|(name, _)| *name)
        .collect();
    let before = hidden(applied, is_env, &BTreeSet::new());
    let after = hidden(found, is_env, &changed);
    if before == after {
        return String::new();
    }
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(2)
        .header("applied", "found")
        .to_string()
}

/// The variable that a line sets, and the rest of the line.
fn setting(line: &str, is_env: bool) -> Option<(&str, &str)> {
    let line = line.trim();
    if is_env {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return None;
        }
        // A line that sets nothing may be a part of a value.
        return Some(line.split_once('=').unwrap_or(("", line)));
    }
    let rest = line.strip_prefix("Environment")?.trim_start();
    let rest = rest.strip_prefix('=')?.trim_start_matches([' ', '"', '\'']);
    Some(rest.split_once('=').unwrap_or((rest, "")))
}

fn settings(text: &str, is_env: bool) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| setting(line, is_env))
        .collect()
}

fn hidden(text: &str, is_env: bool, changed: &BTreeSet<&str>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        match setting(line, is_env) {
            None => out.push_str(line),
            Some((name, _)) => {
                let word = if changed.contains(name) {
                    "(changed)"
                } else {
                    "(hidden)"
                };
                let prefix = if is_env { "" } else { "Environment=" };
                out.push_str(&format!("{prefix}{name}={word}"));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 11.
    #[test]
    fn values_are_hidden_and_names_of_changed_ones_shown() {
        let shown = diff(
            "# x\nA=one\nB=two\n",
            "# x\nA=three\nB=two\nC=four\nfive\n",
            true,
        );
        assert!(shown.contains("-A=(hidden)\n+A=(changed)"), "{shown}");
        assert!(shown.contains("+C=(hidden)"), "{shown}");
        let applied = "[Service]\nEnvironment=A=one\nRestartSec=2\n";
        let found = "[Service]\nEnvironment=\"A=two\"\nRestartSec=9\n";
        let unit = diff(applied, found, false);
        assert!(unit.contains("+Environment=A=(changed)"), "{unit}");
        assert!(
            unit.contains("-RestartSec=2\n") && unit.contains("+RestartSec=9\n"),
            "{unit}"
        );
        for value in ["one", "two", "three", "four", "five"] {
            assert!(!format!("{shown}{unit}").contains(value), "{shown}{unit}");
        }
        assert_eq!(diff(applied, applied, false), "");
    }
}
