//! Words of other programs, made fit for a message.

/// The text in one line of at most 400 characters, control characters left
/// out.
pub(crate) fn one_line(text: &str) -> String {
    const MAX: usize = 400;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    let mut out: String = joined
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX)
        .collect();
    if joined.chars().count() > MAX {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn hostile_words_stay_in_one_line() {
        assert_eq!(one_line(" a\n\n\x1b[31mb \r\n"), "a; [31mb");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), 401);
    }
}
