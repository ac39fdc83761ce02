//! The nearest known name for one that is not known.

/// The name of `known` that was most likely meant, if one is near enough.
#[must_use]
pub fn among<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer texts are no slips, and comparing them costs their product.
    if text.len() > 64 {
        return None;
    }
    let plain = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let wanted = plain(text);
    let distance = |name: &str| match plain(name) {
        name if name == wanted => 0,
        // The plural, or the singular.
        name if name.strip_suffix('s') == Some(&wanted)
            || wanted.strip_suffix('s') == Some(&name) =>
        {
            0
        }
        name => strsim::damerau_levenshtein(&name, &wanted),
    };
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= (wanted.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// The suggestion as a hint.
pub(super) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["version", "domains", "displayName", "driftPolicy", "env"];
        for (text, near) in [
            ("versoin", Some("version")),
            ("display_name", Some("displayName")),
            ("Domain", Some("domains")),
            ("envs", Some("env")),
            ("replicas", None),
            ("x", None),
        ] {
            assert_eq!(among(text, known), near, "{text}");
        }
    }
}
