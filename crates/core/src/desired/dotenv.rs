//! Reads a decrypted file of environment variables.
//!
//! One `NAME=VALUE` in a line; empty lines and those that start with `#` are
//! left out. A value in single quotes is taken as it is; in double quotes, `\`
//! before `"`, `\`, `$` or a backtick is left out; any other value ends before
//! the blanks at the end of its line. No error quotes a line (law 11).

use crate::types::EnvName;

/// The variables in the order of the file.
///
/// # Errors
/// The first line that is none, by its number.
pub(crate) fn parse(content: &[u8]) -> Result<Vec<(EnvName, String)>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8 text")?;
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("line {} {what}", n + 1);
        let Some((name, value)) = line.split_once('=') else {
            return Err(wrong("is not NAME=VALUE"));
        };
        let name: EnvName = name
            .parse()
            .map_err(|_| wrong("does not start with the name of a variable and `=`"))?;
        let value = unquoted(value).ok_or_else(|| wrong("has a quote that is not closed"))?;
        out.push((name, value));
    }
    Ok(out)
}

/// `None` if a quote is not closed at the end of the value.
fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        return (!inner.contains('\'')).then(|| inner.to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut out = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => return chars.peek().is_none().then_some(out),
            '\\' => match chars.next_if(|next| "\"\\$`".contains(*next)) {
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_with_their_quotes_undone() {
        let text = "# words\n\nA=1\r\nB='a \"b\" $c'\nC=\"q\\\"\\$\\n #\"\nD=x=y # z \nE=\n";
        let found = parse(text.as_bytes()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let wanted = [
            ("A", "1"),
            ("B", "a \"b\" $c"),
            ("C", "q\"$\\n #"),
            ("D", "x=y # z"),
            ("E", ""),
        ];
        assert_eq!(found, wanted);
    }

    /// Law 11.
    #[test]
    fn an_error_names_the_line_and_quotes_nothing() {
        for bad in [
            "hunter2",
            "hunter2 x=1",
            "A='hunter2",
            "A=\"hunter2",
            "A=\"hunter2\" x",
        ] {
            let error = parse(format!("OK=1\n{bad}\n").as_bytes()).unwrap_err();
            assert!(error.starts_with("line 2 "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
