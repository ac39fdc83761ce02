//! A reader of `.env` files as the operator writes them.

/// Reads a `.env` file: names and values in order.
///
/// # Errors
/// The first line that is not as the operator writes it.
pub fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut out = Vec::new();
    let Some(text) = text.strip_suffix('\n') else {
        return Err("the last line has no end".into());
    };
    for (n, line) in text.split('\n').enumerate() {
        // Values are in here: the line is not shown.
        let wrong = |why: &str| format!("line {}: {why}", n + 1);
        if line.chars().any(char::is_control) {
            return Err(wrong("a control character"));
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("no variable"))?;
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letter) {
            return Err(wrong("no name of a variable"));
        }
        let value = match value.strip_prefix('"') {
            Some(rest) => quoted(rest).map_err(wrong)?,
            None if value.chars().all(plain) && !value.is_empty() => value.to_owned(),
            None => return Err(wrong("not in quotes")),
        };
        out.push((name.to_owned(), value));
    }
    Ok(out)
}

/// What neither systemd nor a shell reads specially anywhere in a word.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-:+@,=%".contains(c)
}

fn quoted(text: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.as_str().is_empty() => return Ok(out),
            '"' => return Err("text after the value"),
            '`' | '$' => return Err("a shell would put something else here"),
            '\\' => match chars.next() {
                Some(c @ ('"' | '\\' | '`' | '$')) => out.push(c),
                _ => return Err("a backslash that escapes nothing"),
            },
            c => out.push(c),
        }
    }
    Err("a quote that does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off_and_what_shells_expand_is_refused() {
        let read_one = |line: &str| read(&format!("# x\n{line}\n")).map(|mut all| all.remove(0).1);
        assert_eq!(read_one("A=b"), Ok("b".into()));
        assert_eq!(read_one(r#"A="\"\\\`\$ %n #""#), Ok(r#""\`$ %n #"#.into()));
        for bad in [
            "A=$x", "A=b c", "A=\"b", "A=\"b\"c", "A=\"$x\"", "A=", "A B=c", "A=\\", "x",
        ] {
            assert!(read_one(bad).is_err(), "{bad}");
        }
    }
}
