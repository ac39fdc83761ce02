//! A reader of nginx sites as the operator writes them.

/// A directive: its words, after those of the blocks that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The directives whose blocks it is in, from outside, by their words.
    pub within: Vec<Vec<String>>,
    /// Its name and arguments, without quotes.
    pub words: Vec<String>,
}

/// Reads a site: every directive in order, a block before what is in it.
///
/// # Errors
/// What is not as the operator writes it.
pub fn read(text: &str) -> Result<Vec<Directive>, String> {
    let (mut out, mut within, mut words) = (Vec::new(), Vec::new(), Vec::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' => {}
            '#' if words.is_empty() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' if words.is_empty() => return Err(format!("`{c}` after nothing")),
            ';' | '{' => {
                let words = std::mem::take(&mut words);
                out.push(Directive {
                    within: within.clone(),
                    words: words.clone(),
                });
                if c == '{' {
                    within.push(words);
                }
            }
            '}' if words.is_empty() => {
                within.pop().ok_or("`}` without a block")?;
            }
            '"' | '\'' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\\') => return Err("a backslash".into()),
                        Some(c) if !c.is_control() => word.push(c),
                        _ => return Err("a quote that does not end in its line".into()),
                    }
                }
                words.push(word);
            }
            c if is_plain(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| is_plain(*c)) {
                    word.push(c);
                }
                words.push(word);
            }
            c => return Err(format!("`{}` is not expected", c.escape_default())),
        }
    }
    match within.is_empty() && words.is_empty() {
        true => Ok(out),
        false => Err("the end comes too soon".into()),
    }
}

/// What nginx takes as it is, and `$`, which begins a variable.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !"\"'\\;{}#".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_with_their_blocks() {
        let read = read("# x\nserver {\n  listen 80;\n  a /b {\n c \"d e\"; }\n}\n").unwrap();
        let words: Vec<String> = read.iter().map(|d| d.words.join("|")).collect();
        assert_eq!(words, ["server", "listen|80", "a|/b", "c|d e"]);
        assert_eq!(
            read[3].within,
            [vec!["server".to_owned()], vec!["a".into(), "/b".into()]]
        );
    }

    #[test]
    fn what_the_operator_does_not_write_is_refused() {
        for bad in [
            "a",
            "}",
            "a {",
            "a };",
            ";",
            "a \"b",
            "a \\;",
            "a é;",
            "a\tb;",
            "a \"b\nc\";",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
