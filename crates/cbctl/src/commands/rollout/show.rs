//! Rollouts as tables.

use cb_core::rollout::{Member, Phase, Rollout};
use jiff::Timestamp;

use crate::output::age::age;
use crate::output::one_line;
use crate::output::sheet::Sheet;
use crate::output::table::{Table, or_none};

/// A rollout in full.
pub(super) fn sheet(rollout: &Rollout) -> String {
    let spec = &rollout.spec;
    let mut sheet = Sheet::default();
    sheet.field("Rollout", &one_line(&rollout.id));
    sheet.field("State", rollout.word());
    sheet.field("Version", spec.target_version.as_str());
    let chosen = match &spec.selector {
        Some(text) if text.trim().is_empty() => "all".to_owned(),
        Some(text) => one_line(text),
        None => "by name".to_owned(),
    };
    sheet.field("Chosen", &chosen);
    let size = spec.wave.of(rollout.tenants.len());
    sheet.field("Wave", &format!("{} of {size} tenants each", rollout.wave));
    sheet.field("Pause", &format!("{}s", spec.pause_seconds));
    sheet.field("Max Failures", &spec.max_failures.to_string());
    sheet.field("Started", &rollout.started.to_string());
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    sheet.optional("Next Wave", time(rollout.next_wave).as_deref());
    sheet.optional("Ended", time(rollout.ended).as_deref());
    sheet.field("Summary", &rollout.summary());
    let mut table = Table::new(["TENANT", "WAVE", "STATE", "FROM", "BACKUP", "MESSAGE"]);
    for member in &rollout.tenants {
        table.row(vec![
            member.tenant.to_string(),
            or_none(member.wave.map(|wave| wave.to_string())),
            member.word().into(),
            or_none(member.from.as_ref().map(ToString::to_string)),
            or_none(member.backup.as_ref().map(ToString::to_string)),
            why(member).unwrap_or_default(),
        ]);
    }
    sheet.table("Tenants", &table);
    sheet.text()
}

/// Why a tenant failed or is left out.
pub(super) fn why(member: &Member) -> Option<String> {
    let progress = member.newest();
    let reason = progress.reason.as_deref()?;
    let message = progress.message.as_deref().unwrap_or_default();
    Some(format!("{}: {}", one_line(reason), one_line(message)))
}

/// Many rollouts.
pub(super) fn table(rollouts: &[Rollout], now: Timestamp) -> Table {
    let mut table = Table::new([
        "ID", "STATE", "VERSION", "TENANTS", "UPGRADED", "FAILED", "SKIPPED", "AGE",
    ]);
    for rollout in rollouts {
        let count = |phase| rollout.count(phase).to_string();
        table.row(vec![
            one_line(&rollout.id),
            rollout.word().into(),
            rollout.spec.target_version.to_string(),
            rollout.tenants.len().to_string(),
            count(Phase::Succeeded),
            count(Phase::Failed),
            count(Phase::Skipped),
            age(Some(rollout.started), now),
        ]);
    }
    table
}
