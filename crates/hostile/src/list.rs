//! The list of hostile text.

/// The text of the list, in its form with one JSON string a line.
const LIST: &str = include_str!("../strings.txt");

/// All texts, each once, in the order of the list.
///
/// # Panics
/// If a line of the list is not as the list says lines are.
#[must_use]
pub fn all() -> Vec<String> {
    LIST.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| text(line).unwrap_or_else(|| panic!("strings.txt: a wrong line: {line}")))
        .collect()
}

fn text(line: &str) -> Option<String> {
    let end = line.rfind('"')?;
    let (json, times) = line.split_at(end + 1);
    let text: String = serde_json::from_str(json).ok()?;
    match times.strip_prefix(" x ") {
        Some(times) => Some(text.repeat(times.parse().ok()?)),
        None => times.is_empty().then_some(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn there_are_many_and_no_two_are_the_same() {
        let all = super::all();
        assert!(all.len() >= 200, "{}", all.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().any(|text| text.contains('\0')));
    }
}
