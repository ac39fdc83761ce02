//! The text of one document of a file.
//!
//! In YAML a line that begins with `---` or `...` ends a document wherever it
//! stands, so lines are all that has to be looked at. That a slice means what
//! it meant in the file is checked by who takes it.

/// A document's lines in its file, from the first, before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    from: usize,
    to: usize,
}

impl Slice {
    fn has(self, line: usize) -> bool {
        (self.from..self.to).contains(&line)
    }
}

fn slices(lines: &[&str]) -> Vec<Slice> {
    let (mut out, mut from) = (Vec::new(), 0);
    for (n, line) in lines.iter().enumerate() {
        let at = match () {
            () if is_marker(line, "---") => n,
            () if is_marker(line, "...") => n + 1,
            () => continue,
        };
        out.push(Slice { from, to: at });
        from = at;
    }
    out.push(Slice {
        from,
        to: lines.len(),
    });
    out
}

fn is_marker(line: &str, marker: &str) -> bool {
    let rest = line.strip_prefix(marker);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The text of the document that has a value on this line, counted from 1.
pub(super) fn alone(text: &str, line: usize) -> String {
    let lines = lines(text);
    let slice = slices(&lines)
        .into_iter()
        .find(|slice| slice.has(line.saturating_sub(1)));
    let Some(Slice { mut from, mut to }) = slice else {
        return String::new();
    };
    if lines[from].trim_end() == "---" {
        from += 1;
    }
    while from < to && lines[from].trim().is_empty() {
        from += 1;
    }
    while from < to && lines[to - 1].trim().is_empty() {
        to -= 1;
    }
    let mut out = lines[from..to].concat();
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// The text with blank lines in place of the documents that have a value on one
/// of these lines.
pub(super) fn without(text: &str, out: &[usize]) -> String {
    let lines = lines(text);
    let slices = slices(&lines);
    let blank = |slice: &Slice| out.iter().any(|line| slice.has(line.saturating_sub(1)));
    slices
        .iter()
        .map(|slice| {
            if blank(slice) {
                "\n".repeat(slice.to - slice.from)
            } else {
                lines[slice.from..slice.to].concat()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# first\na: 1\n\n---\n# second\nb: |\n  ---\n  x\n...\n--- {c: 3}\n---x: 4\n";

    #[test]
    fn a_document_ends_at_a_marker_at_the_beginning_of_a_line() {
        assert_eq!(alone(TEXT, 2), "# first\na: 1\n");
        assert_eq!(alone(TEXT, 6), "# second\nb: |\n  ---\n  x\n...\n");
        assert_eq!(alone(TEXT, 10), "--- {c: 3}\n---x: 4\n");
        assert_eq!(alone("a: 1\n---\nb: 2", 3), "b: 2\n");
        assert_eq!(alone("a: 1", 9), "");
    }

    #[test]
    fn what_is_left_out_leaves_its_lines() {
        let left = without(TEXT, &[2, 10]);
        assert_eq!(left, "\n\n\n---\n# second\nb: |\n  ---\n  x\n...\n\n\n");
        assert_eq!(left.matches('\n').count(), TEXT.matches('\n').count());
    }
}
