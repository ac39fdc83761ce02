//! One document of a text with several: put another in its place, or take it
//! out. The others stay byte for byte, with their comments and their order.
//!
//! A document is what stands between two lines that begin with `---`. Comments
//! above it there are its own; only those that the whole text begins with, up to
//! a blank line, are not. The result is read back and compared.

use super::edit::{EditError, checked};
use super::{Document, Path};

/// The text with `new`, which is one document, in the place of this one.
///
/// # Errors
/// [`EditError`]: the text cannot be edited so.
pub fn replace(text: &str, document: usize, new: &str) -> Result<String, EditError> {
    let by_hand = || EditError::ByHand { path: Path::root() };
    let others = checked(text)?;
    let section = of(text, &others, document)?;
    let written = checked(new)?;
    let [only] = written.as_slice() else {
        return Err(by_hand());
    };
    let inner = of(new, &written, only.index)?;
    let (_, body) = marker(&new[inner.start..inner.end]);
    // Comments above its marker are the new document's too.
    let body = format!("{}{body}", &new[..inner.start]);
    let (mark, _) = marker(&text[section.start..section.end]);
    // What stands on the marker's own line goes with the document.
    let mark = match mark {
        Some(mark) if is_bare(mark) => mark,
        Some(_) => "---\n",
        None => "",
    };
    let mut edited = format!("{}{mark}{body}", &text[..section.start]);
    if !edited.ends_with('\n') {
        edited.push('\n');
    }
    edited.push_str(&text[section.end..]);
    let mut expected = json(&others);
    expected[section.index] = only.root.to_json();
    same(edited, &expected)
}

/// The text without this document; there must be another.
///
/// # Errors
/// [`EditError`]: the text cannot be edited so.
pub fn remove(text: &str, document: usize) -> Result<String, EditError> {
    let before = checked(text)?;
    let section = of(text, &before, document)?;
    let mut expected = json(&before);
    expected.remove(section.index);
    let head = match section.start {
        0 => own_head(&text[..section.end]),
        _ => "",
    };
    let edited = format!("{}{head}{}", &text[..section.start], &text[section.end..]);
    same(edited, &expected)
}

/// The text of this document, without its marker.
#[must_use]
pub fn body(text: &str, document: usize) -> Option<&str> {
    let section = of(text, &checked(text).ok()?, document).ok()?;
    Some(marker(&text[section.start..section.end]).1)
}

/// Where a document stands in a text, and among those that are not empty.
struct Section {
    start: usize,
    end: usize,
    index: usize,
}

fn of(text: &str, documents: &[Document], document: usize) -> Result<Section, EditError> {
    let path = Path::root();
    // A directive belongs to a document and stands before its marker.
    if text.lines().any(|line| line.starts_with('%')) {
        return Err(EditError::ByHand { path });
    }
    let index = documents.iter().position(|d| d.index == document);
    let Some(index) = index else {
        return Err(EditError::NoPlace { path });
    };
    let at = documents[index].root.span.start;
    let mut starts: Vec<usize> = Vec::new();
    let mut place = 0;
    for line in text.split_inclusive('\n') {
        if is_marker(line) {
            starts.push(place);
        }
        place += line.len();
    }
    let start = starts.iter().rev().find(|start| **start <= at);
    let end = starts.iter().find(|start| **start > at);
    Ok(Section {
        start: start.copied().unwrap_or(0),
        end: end.copied().unwrap_or(text.len()),
        index,
    })
}

/// Nothing else may begin a line so, not even in a block of text.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_bare(mark: &str) -> bool {
    let rest = mark.trim_start_matches('-').trim();
    rest.is_empty() || rest.starts_with('#')
}

/// The marker's line, and what follows it; with a document on that line, all of
/// it without the marker.
fn marker(section: &str) -> (Option<&str>, &str) {
    let line = section.split_inclusive('\n').next().unwrap_or_default();
    match is_marker(line) {
        true if is_bare(line) => (Some(line), &section[line.len()..]),
        true => (Some(line), section[3..].trim_start_matches([' ', '\t'])),
        false => (None, section),
    }
}

/// The comments at the start of a text that are about all of it.
fn own_head(text: &str) -> &str {
    let (mut place, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        if !line.starts_with('#') && !line.trim().is_empty() {
            break;
        }
        place += line.len();
        if line.trim().is_empty() {
            end = place;
        }
    }
    &text[..end]
}

fn json(documents: &[Document]) -> Vec<serde_json::Value> {
    documents.iter().map(|d| d.root.to_json()).collect()
}

fn same(edited: String, expected: &[serde_json::Value]) -> Result<String, EditError> {
    let by_hand = || EditError::ByHand { path: Path::root() };
    let after = checked(&edited).map_err(|_| by_hand())?;
    if json(&after) == expected {
        Ok(edited)
    } else {
        Err(by_hand())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# All of the east.

# The first.
a: 1 # one
---
# The second.
b: |
  two
   --- not a marker
--- # the third
c: 3
";

    #[test]
    fn one_is_replaced_and_the_others_stay() {
        let new = replace(TEXT, 1, "---\n# Newer.\nb: 4").unwrap();
        let old = "# The second.\nb: |\n  two\n   --- not a marker\n";
        assert_eq!(new, TEXT.replace(old, "# Newer.\nb: 4\n"));
        let new = replace(TEXT, 2, "{c: 4}\n").unwrap();
        assert_eq!(new, TEXT.replace("c: 3", "{c: 4}"));
        let new = replace(TEXT, 2, "# Newer.\n---\n# Third.\nc: 4\n").unwrap();
        assert_eq!(new, TEXT.replace("c: 3", "# Newer.\n# Third.\nc: 4"));
        let new = replace("--- {a: 1}\n---\nb: 2\n", 0, "a: 3\n").unwrap();
        assert_eq!(new, "---\na: 3\n---\nb: 2\n");
    }

    #[test]
    fn one_is_removed_and_the_others_stay() {
        let new = remove(TEXT, 0).unwrap();
        assert!(
            new.starts_with("# All of the east.\n\n---\n# The second.\n"),
            "{new}"
        );
        let new = remove(TEXT, 1).unwrap();
        assert!(new.contains("a: 1 # one\n--- # the third\nc: 3\n"), "{new}");
        let new = remove(TEXT, 2).unwrap();
        assert!(new.ends_with("   --- not a marker\n"), "{new}");
        let crlf = remove("a: 1\r\n---\r\nb: 2\r\n", 0).unwrap();
        assert_eq!(crlf, "---\r\nb: 2\r\n");
    }

    #[test]
    fn what_cannot_be_parted_is_refused() {
        for text in ["%YAML 1.2\n---\na: 1\n---\nb: 2\n", "a: [1\n---\nb: 2\n"] {
            assert!(remove(text, 0).is_err(), "{text}");
            assert!(replace(text, 0, "a: 2\n").is_err(), "{text}");
        }
        assert!(remove(TEXT, 3).is_err());
        assert!(replace(TEXT, 0, "a: 1\n---\nb: 2\n").is_err());
        assert!(replace(TEXT, 0, "").is_err());
    }
}
