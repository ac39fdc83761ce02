//! Ages as kubectl writes them: `42s`, `5m3s`, `3h12m`, `3d4h`, `2y10d`.

use jiff::Timestamp;

/// How long ago `then` was, or `<unknown>`.
#[must_use]
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        None => "<unknown>".into(),
        Some(then) => human(now.as_second() - then.as_second()),
    }
}

/// Kubernetes' `HumanDuration`.
fn human(seconds: i64) -> String {
    // A little skew between clocks is nothing to report.
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    if seconds < 120 {
        return format!("{seconds}s");
    }
    if minutes < 10 {
        return two((minutes, 'm'), (seconds % 60, 's'));
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    if hours < 8 {
        return two((hours, 'h'), (minutes % 60, 'm'));
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    if days < 8 {
        return two((days, 'd'), (hours % 24, 'h'));
    }
    if years < 2 {
        return format!("{days}d");
    }
    if years < 8 {
        return two((years, 'y'), (days % 365, 'd'));
    }
    format!("{years}y")
}

fn two((large, unit): (i64, char), (small, small_unit): (i64, char)) -> String {
    if small == 0 {
        format!("{large}{unit}")
    } else {
        format!("{large}{unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_kubectl() {
        const M: i64 = 60;
        const H: i64 = 60 * M;
        const D: i64 = 24 * H;
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (3 * M + 7, "3m7s"),
            (10 * M + 59, "10m"),
            (179 * M, "179m"),
            (3 * H, "3h"),
            (7 * H + 59 * M, "7h59m"),
            (8 * H + 59 * M, "8h"),
            (47 * H, "47h"),
            (2 * D, "2d"),
            (3 * D + 4 * H, "3d4h"),
            (8 * D + 4 * H, "8d"),
            (729 * D, "729d"),
            (740 * D, "2y10d"),
            (8 * 365 * D, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn a_time_that_is_not_known_is_said_to_be_unknown() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
