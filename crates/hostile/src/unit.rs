//! A reader of unit files as the operator writes them.
//!
//! It refuses what systemd takes and the operator has no need for: settings
//! over several lines, sections twice, anything before a section but comments.

/// One setting of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The section that it is in.
    pub section: String,
    /// Its name.
    pub key: String,
    /// Its words, without quotes.
    pub words: Vec<String>,
    /// What stands after each `%` that is no `%%`, and after each `$` of a
    /// command line that is no `$$`: what systemd would put something else for.
    pub specials: Vec<String>,
}

/// Reads a unit file.
///
/// # Errors
/// The first line that is not as the operator writes it.
pub fn read(text: &str) -> Result<Vec<Setting>, String> {
    let mut out = Vec::new();
    let mut sections: Vec<String> = Vec::new();
    let Some(text) = text.strip_suffix('\n') else {
        return Err("the last line has no end".into());
    };
    for (n, line) in text.split('\n').enumerate() {
        let wrong = |why: &str| format!("line {}: {why}: {line:?}", n + 1);
        if line.chars().any(char::is_control) {
            return Err(wrong("a control character"));
        }
        if line.ends_with('\\') {
            return Err(wrong("goes on in the next line"));
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            if sections.iter().any(|known| known == section) {
                return Err(wrong("a section twice"));
            }
            sections.push(section.to_owned());
            continue;
        }
        let section = sections.last().ok_or_else(|| wrong("in no section"))?;
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("no setting"))?;
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(wrong("no name of a setting"));
        }
        let command_line = key.starts_with("Exec");
        let (words, specials) = words(value, command_line).map_err(|why| wrong(&why))?;
        out.push(Setting {
            section: section.clone(),
            key: key.to_owned(),
            words,
            specials,
        });
    }
    Ok(out)
}

/// Takes a value apart (`Quoting` in systemd.syntax(7)).
fn words(value: &str, command_line: bool) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut words, mut specials) = (Vec::new(), Vec::new());
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted => {
                quoted = false;
                if chars.peek().is_some_and(|next| *next != ' ') {
                    return Err("text right after a quote".into());
                }
            }
            '"' if word.is_none() => {
                quoted = true;
                word = Some(String::new());
            }
            '"' | '\'' if !quoted => return Err("a quote within a word".into()),
            ' ' if !quoted => words.extend(word.take()),
            '\\' => match chars.next() {
                Some(c @ ('\\' | '"')) if quoted => word.get_or_insert_default().push(c),
                _ => return Err("a backslash that escapes nothing".into()),
            },
            '%' | '$' if c == '%' || command_line => {
                let word = word.get_or_insert_default();
                word.push(c);
                if chars.peek() == Some(&c) {
                    chars.next();
                } else {
                    specials.push(chars.peek().map_or_else(String::new, char::to_string));
                }
            }
            ';' if command_line && word.is_none() && !quoted => {
                return Err("a second command".into());
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err("a quote that does not end".into());
    }
    words.extend(word);
    Ok((words, specials))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_specials_are_told_apart() {
        let text = "# x\n[Service]\nExecStart=/a \"b \\\" \\\\ %% $$ %i $x\" c\nCPUQuota=50%\n";
        let settings = read(text).unwrap();
        assert_eq!(settings[0].words, ["/a", "b \" \\ % $ %i $x", "c"]);
        assert_eq!(settings[0].specials, ["i", "x"]);
        assert_eq!(settings[1].specials, [""]);
        assert_eq!(read("[A]\nB=$x\n").unwrap()[0].specials, [""; 0]);
    }

    #[test]
    fn what_the_operator_does_not_write_is_refused() {
        for bad in [
            "A=b\n",
            "[A]\nB=c",
            "[A]\nB=c\\\n",
            "[A]\n[A]\n",
            "[A]\nB=\"c\n",
            "[A]\nB=c\rD=e\n",
            "[A]\nExecStart=/a ; /b\n",
            "[A]\nB=c\"d\"\n",
            "[A]\nB=\\n\n",
            "[A]\nnothing\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
