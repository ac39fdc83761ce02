//! Amounts of memory, of disk space and of processors.

use super::shown;

string_type! {
    /// An amount of memory in bytes with an optional suffix `Ki`, `Mi`, `Gi`,
    /// `Ti` (powers of 1024) or `k`, `M`, `G`, `T` (powers of 1000).
    Memory, check_memory,
    {"type": "string", "pattern": "^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
}
string_type! {
    /// An amount of disk space in bytes with an optional suffix `Ki`, `Mi`, `Gi`,
    /// `Ti` (powers of 1024) or `k`, `M`, `G`, `T` (powers of 1000).
    DiskSpace, check_disk_space,
    {"type": "string", "pattern": "^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
}
string_type! {
    /// A share of processors: whole or decimal cores (`2`, `0.5`) or thousandths
    /// of a core (`500m`).
    Cpu, check_cpu,
    {"type": "string", "pattern": "^([0-9]+m|[0-9]+(\\.[0-9]{1,3})?)$"}
}

impl Memory {
    /// The amount in bytes; [`u64::MAX`] if it does not fit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(&self.0)
    }
}

impl DiskSpace {
    /// The amount in bytes; [`u64::MAX`] if it does not fit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(&self.0)
    }
}

fn bytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match &text[digits.len()..] {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => 1,
    };
    digits
        .parse::<u64>()
        .map_or(u64::MAX, |n| n.saturating_mul(factor))
}

impl Cpu {
    /// The share in thousandths of a core, at least 1.
    #[must_use]
    pub fn millicores(&self) -> u64 {
        let text = self.0.as_str();
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse().unwrap_or(u64::MAX),
            None => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let fraction = format!("{fraction:0<3}").parse::<u64>().unwrap_or(0);
                whole
                    .parse::<u64>()
                    .unwrap_or(u64::MAX)
                    .saturating_mul(1000)
                    .saturating_add(fraction)
            }
        };
        millis.max(1)
    }
}

pub(super) fn check_memory(text: &str) -> Result<(), String> {
    check_bytes(text, "memory")
}

pub(super) fn check_disk_space(text: &str) -> Result<(), String> {
    check_bytes(text, "disk space")
}

fn check_bytes(text: &str, of: &str) -> Result<(), String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let suffix = &text[digits.len()..];
    if !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
        && ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"].contains(&suffix)
    {
        return Ok(());
    }
    Err(format!(
        "`{}` is not an amount of {of}: write a whole number of bytes or one with Ki, Mi, Gi, Ti, k, M, G or T (for example 512Mi)",
        shown(text)
    ))
}

pub(super) fn check_cpu(text: &str) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "`{}` is not a share of processors: write cores (`2`, `0.5`) or thousandths (`500m`)",
            shown(text)
        ))
    };
    let digits = |t: &str| !t.is_empty() && t.len() <= 6 && t.bytes().all(|b| b.is_ascii_digit());
    let ok = match text.strip_suffix('m') {
        Some(millis) => digits(millis),
        None => match text.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction) && fraction.len() <= 3,
            None => digits(text),
        },
    };
    if !ok || text.trim_matches(|c| "0.m".contains(c)).is_empty() {
        return wrong();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_their_units() {
        let memory = |t: &str| t.parse::<Memory>().map(|m| m.bytes()).ok();
        assert_eq!(memory("512Mi"), Some(536_870_912));
        assert_eq!(memory("1G"), Some(1_000_000_000));
        let disk = |t: &str| t.parse::<DiskSpace>().map(|d| d.bytes());
        assert_eq!(disk("10Gi"), Ok(10 << 30));
        let refused = disk("10GB").unwrap_err().to_string();
        assert!(
            refused.starts_with("`10GB` is not an amount of disk space"),
            "{refused}"
        );
        assert_eq!(memory("0"), None);
        assert_eq!(memory("1.5Gi"), None);
        let cpu = |t: &str| t.parse::<Cpu>().map(|c| c.millicores()).ok();
        assert_eq!(cpu("500m"), Some(500));
        assert_eq!(cpu("0.5"), Some(500));
        assert_eq!(cpu("2"), Some(2000));
        assert_eq!(cpu("0"), None);
        assert_eq!(cpu("1.2345"), None);
    }
}
