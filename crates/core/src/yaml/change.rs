//! Brings a document of a text to other content and keeps the rest: comments,
//! order, blank lines, quotes.
//!
//! The tree of the text is held against what is wanted; each difference becomes
//! one replacement of a part of the text. What is written in a way that cannot
//! be edited so (aliases, a flow mapping over several lines that gets another
//! field) is refused, and the result is read back and compared: an edit that
//! would say anything else is refused too. The caller then writes the whole
//! text anew.

use serde_json::{Map, Value as Json};

use super::edit::{EditError, Scalar, checked};
use super::{Entry, Node, Path, Value};

/// The text with this document saying `wanted`, and everything else as it was.
///
/// # Errors
/// [`EditError`]: the text cannot be edited so.
pub fn change(text: &str, document: usize, wanted: &Json) -> Result<String, EditError> {
    let path = Path::root();
    let before = checked(text)?;
    let Some(of) = before.get(document) else {
        return Err(EditError::NoPlace { path });
    };
    let mut edits = Edits {
        text,
        parts: Vec::new(),
    };
    edits.node(&of.root, wanted, &path)?;
    let edited = edits.applied();
    let after = checked(&edited).map_err(|_| EditError::ByHand { path: path.clone() })?;
    let mut expected: Vec<Json> = before.iter().map(|d| d.root.to_json()).collect();
    expected[document] = wanted.clone();
    if after.iter().map(|d| d.root.to_json()).eq(expected) {
        Ok(edited)
    } else {
        Err(EditError::ByHand { path })
    }
}

/// A part of the text and what is to stand there.
struct Part {
    start: usize,
    end: usize,
    new: String,
}

struct Edits<'t> {
    text: &'t str,
    parts: Vec<Part>,
}

impl Edits<'_> {
    fn node(&mut self, node: &Node, wanted: &Json, path: &Path) -> Result<(), EditError> {
        if node.to_json() == *wanted {
            return Ok(());
        }
        let by_hand = || EditError::ByHand { path: path.clone() };
        let start = node.span.start;
        let first = self.text[start..].chars().next();
        if matches!(first, Some('*' | '&' | '!')) {
            return Err(by_hand());
        }
        let flow = matches!(first, Some('{' | '['));
        match (&node.value, wanted) {
            (Value::Map(entries), Json::Object(map)) if !flow => self.map(entries, map, path),
            (Value::List(items), Json::Array(list)) if !flow => self.list(items, list, path),
            (Value::Map(entries), Json::Object(map)) if has_keys(entries, map) => {
                for entry in entries {
                    self.node(&entry.value, &map[&entry.key], &path.key(&entry.key))?;
                }
                Ok(())
            }
            (Value::Map(_), Json::Object(_)) | (Value::List(_), Json::Array(_)) => {
                let end = self.end(node);
                if self.text[start..end].contains('\n') {
                    return Err(by_hand());
                }
                self.replace(start, end, flow_of(wanted));
                Ok(())
            }
            (Value::Map(_) | Value::List(_), _) => Err(by_hand()),
            _ => {
                // A value that is not written at all has an empty span.
                let space = if start == node.span.end { " " } else { "" };
                let from = self.block_header(start).unwrap_or(start);
                let end = self.end(node);
                self.replace(from, end, format!("{space}{}", flow_of(wanted)));
                Ok(())
            }
        }
    }

    /// A block mapping: fields go and come by whole lines.
    fn map(
        &mut self,
        entries: &[Entry],
        wanted: &Map<String, Json>,
        path: &Path,
    ) -> Result<(), EditError> {
        let by_hand = || EditError::ByHand { path: path.clone() };
        let column = |entry: &Entry| entry.key_span.position.column - 1;
        let (first, last) = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if !wanted.is_empty() => (first, last),
            _ => return Err(by_hand()),
        };
        let indent = " ".repeat(column(first));
        for entry in entries {
            match wanted.get(&entry.key) {
                Some(value) => self.node(&entry.value, value, &path.key(&entry.key))?,
                None => {
                    // In `- a: 1` the first field shares its line with the dash.
                    let from = self.line_start(entry.key_span.start);
                    if !self.text[from..entry.key_span.start]
                        .bytes()
                        .all(|b| b == b' ')
                    {
                        return Err(by_hand());
                    }
                    let to = self.line_end(self.end(&entry.value).max(entry.key_span.end));
                    self.replace(from, to, String::new());
                }
            }
        }
        let mut new = String::new();
        for (key, value) in wanted {
            if entries.iter().all(|entry| entry.key != *key) {
                new.push_str(&indented(
                    &block_of(key, value).ok_or_else(by_hand)?,
                    &indent,
                ));
            }
        }
        self.insert_after(self.end(&last.value).max(last.key_span.end), new);
        Ok(())
    }

    /// A block list: what is alike at both ends stays.
    fn list(&mut self, items: &[Node], wanted: &[Json], path: &Path) -> Result<(), EditError> {
        let by_hand = || EditError::ByHand { path: path.clone() };
        let old: Vec<Json> = items.iter().map(Node::to_json).collect();
        let alike = |(a, b): &(&Json, &Json)| a == b;
        let head = old.iter().zip(wanted).take_while(alike).count();
        let most = old.len().min(wanted.len()) - head;
        let tail = old.iter().rev().zip(wanted.iter().rev());
        let tail = tail.take(most).take_while(alike).count();
        let (gone, come) = (
            &items[head..items.len() - tail],
            &wanted[head..wanted.len() - tail],
        );
        if gone.len() == come.len() {
            for (n, (node, value)) in gone.iter().zip(come).enumerate() {
                self.node(node, value, &path.index(head + n))?;
            }
            return Ok(());
        }
        if wanted.is_empty() {
            return Err(by_hand());
        }
        let (first, last) = match (items.first(), items.last()) {
            (Some(first), Some(last)) => (first, last),
            _ => return Err(by_hand()),
        };
        let line = self.line_start(first.span.start);
        let dash = self.text[line..].find('-').ok_or_else(by_hand)?;
        let indent = self.text[line..line + dash].to_owned();
        if !indent.bytes().all(|b| b == b' ') {
            return Err(by_hand());
        }
        for item in gone {
            let (from, to) = (
                self.line_start(item.span.start),
                self.line_end(self.end(item)),
            );
            if !self.text[from..].starts_with(&format!("{indent}-")) {
                return Err(by_hand());
            }
            self.replace(from, to, String::new());
        }
        let mut new = String::new();
        for value in come {
            let text = serde_yaml::to_string(&[value]).map_err(|_| by_hand())?;
            new.push_str(&indented(&text, &indent));
        }
        match items.get(items.len() - tail).filter(|_| tail > 0) {
            Some(next) => {
                let at = self.line_start(next.span.start);
                self.replace(at, at, new);
            }
            None => self.insert_after(self.end(last), new),
        }
        Ok(())
    }

    /// The byte after the last one of a value's own text.
    fn end(&self, node: &Node) -> usize {
        let span = node.span;
        let text = &self.text[span.start..span.end];
        let last = match &node.value {
            _ if text.starts_with('*') => None,
            Value::Map(entries) => entries
                .last()
                .map(|entry| self.end(&entry.value).max(entry.key_span.end)),
            Value::List(items) => items.last().map(|item| self.end(item)),
            _ => None,
        };
        match last {
            // The parser's span reaches over the comment after the bracket.
            _ if text.starts_with(['{', '[']) => {
                let last = last.unwrap_or(span.start + 1);
                let close = self.text[last..].find(['}', ']']);
                close.map_or(span.end, |close| last + close + 1)
            }
            Some(last) => last,
            None => span.start + text.trim_end().len(),
        }
    }

    /// Where the `|` or `>` of a block scalar stands: its span is its content.
    fn block_header(&self, start: usize) -> Option<usize> {
        let before = self.text[..start].trim_end();
        if !self.text[before.len()..start].contains('\n') {
            return None;
        }
        let from = before.rfind([' ', '\n']).map_or(0, |at| at + 1);
        let header = before[from..].strip_prefix(['|', '>'])?;
        header
            .chars()
            .all(|c| c.is_ascii_digit() || "+-".contains(c))
            .then_some(from)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        rest.find('\n')
            .map_or(self.text.len(), |newline| at + newline + 1)
    }

    /// Adds lines after the line of this byte.
    fn insert_after(&mut self, at: usize, new: String) {
        if new.is_empty() {
            return;
        }
        let at = self.line_end(at);
        let ended = self.text[..at].ends_with('\n');
        let new = if ended { new } else { format!("\n{new}") };
        self.replace(at, at, new);
    }

    fn replace(&mut self, start: usize, end: usize, new: String) {
        self.parts.push(Part { start, end, new });
    }

    fn applied(mut self) -> String {
        // Stable: what was asked for first at one place stands first.
        self.parts.sort_by_key(|part| (part.start, part.end));
        let (mut out, mut at) = (String::with_capacity(self.text.len()), 0);
        for part in self.parts {
            // One that lies in another would show in the comparison.
            out.push_str(self.text.get(at..part.start).unwrap_or_default());
            out.push_str(&part.new);
            at = at.max(part.end);
        }
        out.push_str(&self.text[at..]);
        // CRLF files stay so.
        if self.text.contains("\r\n") {
            return out.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        out
    }
}

fn has_keys(entries: &[Entry], wanted: &Map<String, Json>) -> bool {
    entries.len() == wanted.len() && entries.iter().all(|e| wanted.contains_key(&e.key))
}

/// `key: value` in lines of its own, without indentation.
fn block_of(key: &str, value: &Json) -> Option<String> {
    let map = Map::from_iter([(key.to_owned(), value.clone())]);
    serde_yaml::to_string(&map).ok()
}

fn indented(text: &str, indent: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str(indent);
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A value on one line.
fn flow_of(value: &Json) -> String {
    match value {
        Json::String(text) => Scalar::Text(text.clone()).written(),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(flow_of).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| {
                    let key = Scalar::Text(key.clone()).written();
                    format!("{key}: {}", flow_of(value))
                })
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const TEXT: &str = "\
# ours
kind: Tenant # a kind
metadata: {name: ky04}  # in one line
spec:
  # which one
  version: v1   # pinned

  env:
    A: \"x\" # first
    # about B
    B: |
      two
      lines
  # where
  domains:
    - a.example.org # main
    - b.example.org
  refs:
    - name: K   # key
      file: /k
";

    fn changed(edit: impl FnOnce(&mut Json)) -> String {
        let mut wanted = super::super::parse(TEXT).documents[0].root.to_json();
        edit(&mut wanted);
        change(TEXT, 0, &wanted).unwrap()
    }

    fn without(text: &str, line: &str) -> String {
        let start = text.find(line).unwrap();
        format!("{}{}", &text[..start], &text[start + line.len()..])
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let new = changed(|o| o["spec"]["version"] = "v2".into());
        assert_eq!(new, TEXT.replace("v1 ", "v2 "));
        let new = changed(|o| o["spec"]["refs"][0]["file"] = "/other".into());
        assert_eq!(new, TEXT.replace("/k\n", "/other\n"));
        let new = changed(|o| o["spec"]["env"]["B"] = "one".into());
        assert_eq!(new, TEXT.replace("|\n      two\n      lines\n", "one\n"));
    }

    #[test]
    fn fields_come_and_go_by_lines() {
        let new = changed(|o| o["spec"]["suspend"] = true.into());
        assert_eq!(new, format!("{TEXT}  suspend: true\n"));
        let new = changed(|o| o["spec"]["env"]["C"] = "3".into());
        assert_eq!(
            new,
            TEXT.replace("      lines\n", "      lines\n    C: '3'\n")
        );
        let new = changed(|o| drop(o["spec"]["env"].as_object_mut().unwrap().remove("A")));
        assert_eq!(new, without(TEXT, "    A: \"x\" # first\n"));
        let new = changed(|o| drop(o["spec"].as_object_mut().unwrap().remove("domains")));
        let gone = "  domains:\n    - a.example.org # main\n    - b.example.org\n";
        assert_eq!(new, without(TEXT, gone));
        let new = changed(|o| o["metadata"]["labels"] = json!({"ring": "canary"}));
        assert_eq!(
            new,
            TEXT.replace("{name: ky04}", "{labels: {ring: canary}, name: ky04}")
        );
    }

    #[test]
    fn lists_keep_what_stays() {
        let new = changed(|o| {
            let list = o["spec"]["domains"].as_array_mut().unwrap();
            list.push("c.example.org".into());
        });
        assert_eq!(
            new,
            TEXT.replace("b.example.org\n", "b.example.org\n    - c.example.org\n")
        );
        let new = changed(|o| drop(o["spec"]["domains"].as_array_mut().unwrap().remove(0)));
        assert_eq!(new, without(TEXT, "    - a.example.org # main\n"));
        let new = changed(|o| {
            let list = o["spec"]["domains"].as_array_mut().unwrap();
            list.insert(0, "z.example.org".into());
        });
        assert_eq!(
            new,
            TEXT.replace("    - a.", "    - z.example.org\n    - a.")
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (text, wanted) in [
            ("a: &x 1\nb: *x\n", json!({"a": 1, "b": 2})),
            ("a: &x 1\nb: *x\n", json!({"a": 2, "b": 1})),
            ("a: {b: 1,\n  c: 2}\n", json!({"a": {"b": 1}})),
            ("a: 1\n", json!([1])),
        ] {
            assert!(change(text, 0, &wanted).is_err(), "{text}");
        }
        let crlf = change("a: 1\r\nb: 2\r\n", 0, &json!({"a": 1, "c": 3})).unwrap();
        assert_eq!(crlf, "a: 1\r\nc: 3\r\n");
    }

    fn value(depth: u32) -> BoxedStrategy<Json> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Json::from),
            (-9..99_i64).prop_map(Json::from),
            "[a-z #:'\"\n-]{0,9}".prop_map(Json::from),
        ];
        if depth == 0 {
            return leaf.boxed();
        }
        prop_oneof![
            leaf,
            prop::collection::vec(value(depth - 1), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-d]", value(depth - 1), 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
        .boxed()
    }

    fn document() -> impl Strategy<Value = Json> {
        prop::collection::btree_map("[a-d]", value(3), 1..4)
            .prop_map(|map| Json::Object(map.into_iter().collect()))
    }

    proptest! {
        /// Law 5: whatever is there and whatever is wanted, the text says what
        /// is wanted, or is refused and left.
        #[test]
        fn the_text_says_what_is_wanted(old in document(), new in document()) {
            let text = format!("# kept\n{}", serde_yaml::to_string(&old).unwrap());
            if let Ok(edited) = change(&text, 0, &new) {
                prop_assert!(edited.starts_with("# kept\n"));
                prop_assert_eq!(super::super::parse(&edited).documents[0].root.to_json(), new);
            }
            prop_assert_eq!(change(&text, 0, &old), Ok(text));
        }
    }
}
