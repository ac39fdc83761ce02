//! Parser events as a tree.
//!
//! One pass over the events with a stack of open containers. A syntax error
//! ends the pass; what is open then is closed, so that a name that was read
//! before it can still be found. Limits are counted as the tree grows: an
//! alias costs what it stands for *before* it is copied.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, StrInput, Tag};

use super::scalar;
use super::{
    Document, Entry, Error, MAX_DEPTH, MAX_ERRORS, MAX_NODES, MAX_SCALAR_BYTES, Node, Parsed, Path,
    Position, Span, Value,
};
use crate::types::shown;

/// Reads a text of any number of documents. The text is what
/// [`super::read_text`] accepts.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let mut builder = Builder {
        text,
        offsets: Offsets::of(text),
        parsed: Parsed::default(),
        document: 0,
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        used: Cost::default(),
    };
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
    let end = loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break Ok(()),
            Some(Err(error)) => {
                let position = position(error.marker().line(), error.marker().col());
                break Err(builder.syntax(position, error.info()));
            }
            Some(Ok((event, marks))) => {
                if let Err(error) = builder.event(event, marks) {
                    break Err(error);
                }
            }
        }
    };
    if let Err(error) = end {
        builder.parsed.errors.push(*error);
        builder.close_all();
    }
    builder.parsed
}

fn position(line: usize, column_from_0: usize) -> Position {
    Position {
        line: line.max(1),
        column: column_from_0 + 1,
    }
}

/// Byte offsets of characters; the parser counts characters.
struct Offsets(Option<Vec<usize>>, usize);

impl Offsets {
    fn of(text: &str) -> Self {
        let table = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self(table, text.len())
    }

    fn byte(&self, index: usize) -> usize {
        match &self.0 {
            Some(table) => table.get(index).copied().unwrap_or(self.1),
            None => index.min(self.1),
        }
    }
}

/// What a node costs, with aliases counted as what they stand for.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        known: HashMap<String, usize>,
        key: Option<(String, Span)>,
    },
}

struct Frame {
    open: Open,
    span: Span,
    anchor: usize,
    cost: Cost,
}

enum Anchor {
    /// The node is still open: an alias to it would contain itself.
    Open,
    Done(Node, Cost),
}

struct Builder<'t> {
    text: &'t str,
    offsets: Offsets,
    parsed: Parsed,
    document: usize,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchor>,
    used: Cost,
}

/// An error that ends the pass.
type Fatal = Box<Error>;

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, marks: Marks) -> Result<(), Fatal> {
        let span = self.span(marks);
        match event {
            Event::DocumentEnd => self.end_document(span),
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), span)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span);
                self.open(Open::List(Vec::new()), anchor, span, "a list")?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span);
                let open = Open::Map {
                    entries: Vec::new(),
                    known: HashMap::new(),
                    key: None,
                };
                self.open(open, anchor, span, "a mapping")?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(())
    }

    fn span(&self, marks: Marks) -> Span {
        Span {
            start: self.offsets.byte(marks.start.index()),
            end: self.offsets.byte(marks.end.index()),
            position: position(marks.start.line(), marks.start.col()),
        }
    }

    fn error(&self, at: Position, message: String, hint: Option<&str>) -> Fatal {
        Box::new(Error {
            document: self.document,
            position: at,
            path: self.path(),
            message,
            hint: hint.map(str::to_owned),
            fatal: true,
        })
    }

    /// Reports something and goes on.
    fn report(&mut self, at: Position, message: String, hint: Option<&str>) {
        if self.parsed.errors.len() < MAX_ERRORS {
            let error = self.error(at, message, hint);
            self.parsed.errors.push(Error {
                fatal: false,
                ..*error
            });
        }
    }

    fn syntax(&self, at: Position, info: &str) -> Fatal {
        let line = self.text.lines().nth(at.line - 1).unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let hint = if indent.contains('\t') {
            "indent with spaces; YAML does not allow tabs there"
        } else if info.contains("mapping values are not allowed") {
            "check the indentation; put a text that contains `: ` in quotes"
        } else if info.contains("unexpected end of stream") || info.contains("quoted scalar") {
            "check that every quote is closed"
        } else if info.contains("flow") || info.contains("bracket") {
            "check that every `[` and `{` is closed; put a text that starts with one in quotes"
        } else {
            "check the indentation and the quotes of this line and of the one before it"
        };
        self.error(
            at,
            format!("this is not valid YAML: {}", shown(info)),
            Some(hint),
        )
    }

    /// The path of the node that is read now.
    fn path(&self) -> Path {
        let mut path = Path::root();
        for frame in &self.stack {
            match &frame.open {
                Open::List(items) => path = path.index(items.len()),
                Open::Map {
                    key: Some((key, _)),
                    ..
                } => path = path.key(key),
                Open::Map { key: None, .. } => {}
            }
        }
        path
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        if let Some(tag) = tag
            && !is_unspecific(tag)
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            self.refuse_tag(span);
        }
    }

    /// The tag is not shown: an unquoted secret that starts with `!` is one.
    fn refuse_tag(&mut self, span: Span) {
        let hint = "remove it; put a text that starts with `!` in quotes";
        self.report(
            span.position,
            "a tag (`!…`) is not supported here".into(),
            Some(hint),
        );
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        mut span: Span,
    ) -> Result<(), Fatal> {
        span.end = self.end_of_scalar(style, span);
        let plain = style == ScalarStyle::Plain;
        let value = match tag {
            None if plain => scalar::resolve(text),
            None => Value::Text(text.to_owned()),
            Some(tag) => self.tagged(text, tag, span),
        };
        if self.expects_key() {
            return self.key(text, &value, plain, span);
        }
        let cost = Cost {
            nodes: 1,
            bytes: text.len(),
            depth: 1,
        };
        self.spend(cost, span)?;
        self.add(Node { value, span }, anchor, cost);
        Ok(())
    }

    /// The parser's span of a quoted scalar reaches over the blanks and the
    /// comment after it; an edit must not.
    fn end_of_scalar(&self, style: ScalarStyle, span: Span) -> usize {
        let text = &self.text[span.start..span.end];
        let mut rest = text.char_indices().skip(1).peekable();
        let single = match style {
            ScalarStyle::SingleQuoted => true,
            ScalarStyle::DoubleQuoted => false,
            _ => return span.end,
        };
        while let Some((at, c)) = rest.next() {
            match c {
                '\'' if single && rest.next_if(|(_, next)| *next == '\'').is_none() => {
                    return span.start + at + 1;
                }
                '"' if !single => return span.start + at + 1,
                '\\' if !single => drop(rest.next()),
                _ => {}
            }
        }
        span.end
    }

    fn tagged(&mut self, text: &str, tag: &Tag, span: Span) -> Value {
        let as_text = Value::Text(text.to_owned());
        if is_unspecific(tag) {
            return as_text;
        }
        let value = scalar::resolve(text);
        let fits = tag.is_yaml_core_schema()
            && match tag.suffix.as_str() {
                "str" => return as_text,
                "null" => value == Value::Null,
                "bool" => matches!(value, Value::Bool(_)),
                "int" => matches!(value, Value::Int(..)),
                "float" => matches!(value, Value::Float(..) | Value::Int(..)),
                _ => false,
            };
        if !fits {
            self.refuse_tag(span);
        }
        value
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, text: &str, value: &Value, plain: bool, span: Span) -> Result<(), Fatal> {
        // A key costs as much as a value: it is copied with its mapping.
        let cost = Cost {
            nodes: 0,
            bytes: text.len(),
            depth: 0,
        };
        self.spend(cost, span)?;
        if !matches!(value, Value::Text(_)) {
            let message = format!(
                "the key `{}` is {}; a key must be text",
                shown(text),
                value.what()
            );
            self.report(span.position, message, Some("put it in quotes"));
        } else if plain && text == "<<" {
            let hint = "write the fields out where they are needed";
            self.report(
                span.position,
                "merge keys (`<<`) are not supported".into(),
                Some(hint),
            );
        }
        if let Some(Frame {
            open: Open::Map { key, .. },
            cost: frame,
            ..
        }) = self.stack.last_mut()
        {
            *key = Some((text.to_owned(), span));
            frame.bytes += text.len();
        }
        Ok(())
    }

    /// Counts what is added against the limits.
    fn spend(&mut self, cost: Cost, span: Span) -> Result<(), Fatal> {
        self.used.nodes = self.used.nodes.saturating_add(cost.nodes);
        self.used.bytes = self.used.bytes.saturating_add(cost.bytes);
        let (what, max) = if self.used.nodes > MAX_NODES {
            ("values", MAX_NODES)
        } else if self.used.bytes > MAX_SCALAR_BYTES {
            ("bytes of text", MAX_SCALAR_BYTES)
        } else if self.stack.len() + cost.depth > MAX_DEPTH {
            ("levels of nesting", MAX_DEPTH)
        } else {
            return Ok(());
        };
        let message = format!(
            "the file has more than {max} {what}, with aliases counted as what they stand for"
        );
        Err(self.error(
            span.position,
            message,
            Some("put each object in a file of its own, without aliases"),
        ))
    }

    fn open(&mut self, open: Open, anchor: usize, span: Span, what: &str) -> Result<(), Fatal> {
        if self.expects_key() {
            let message = format!("this key is {what}; a key must be text");
            let hint = "write `key: value`; put a text that starts with `[` or `{` in quotes";
            return Err(self.error(span.position, message, Some(hint)));
        }
        let cost = Cost {
            nodes: 1,
            bytes: 0,
            depth: 1,
        };
        self.spend(cost, span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Open);
        }
        self.stack.push(Frame {
            open,
            span,
            anchor,
            cost,
        });
        Ok(())
    }

    fn close(&mut self, end: usize) {
        let Some(mut frame) = self.stack.pop() else {
            return;
        };
        frame.span.end = end.max(frame.span.start);
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        self.add(
            Node {
                value,
                span: frame.span,
            },
            frame.anchor,
            frame.cost,
        );
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fatal> {
        if self.expects_key() {
            let message = "this key is an alias; a key must be text".to_owned();
            return Err(self.error(span.position, message, Some("write the key out")));
        }
        let cost = match self.anchors.get(&anchor) {
            Some(Anchor::Done(_, cost)) => *cost,
            Some(Anchor::Open) | None => {
                let message = "this alias refers to something that contains it".to_owned();
                return Err(self.error(span.position, message, Some("write the value out")));
            }
        };
        self.spend(cost, span)?;
        if let Some(Anchor::Done(node, _)) = self.anchors.get(&anchor) {
            let node = Node {
                value: node.value.clone(),
                span,
            };
            self.add(node, 0, cost);
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, cost: Cost) {
        if anchor != 0 {
            self.anchors
                .insert(anchor, Anchor::Done(node.clone(), cost));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.cost.nodes += cost.nodes;
        frame.cost.bytes += cost.bytes;
        frame.cost.depth = frame.cost.depth.max(cost.depth + 1);
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map {
                entries,
                known,
                key,
            } => {
                let Some((key, key_span)) = key.take() else {
                    return;
                };
                if let Some(&line) = known.get(&key) {
                    let path = self.path().key(&key);
                    let message = format!("`{}` is already set on line {line}", shown(&key));
                    let hint = Some("remove one of the two");
                    self.report(key_span.position, message, hint);
                    if let Some(error) = self.parsed.errors.last_mut()
                        && error.position == key_span.position
                    {
                        error.path = path;
                    }
                    return;
                }
                known.insert(key.clone(), key_span.position.line);
                entries.push(Entry {
                    key,
                    key_span,
                    value: node,
                });
            }
        }
    }

    fn end_document(&mut self, span: Span) {
        let empty = Node {
            value: Value::Null,
            span,
        };
        let root = self.root.take().unwrap_or(empty);
        self.parsed.documents.push(Document {
            index: self.document,
            root,
        });
        self.document += 1;
        self.anchors.clear();
    }

    /// Closes what a fatal error left open.
    fn close_all(&mut self) {
        let end = self.text.len();
        while !self.stack.is_empty() {
            self.close(end);
        }
        if self.root.is_some() {
            self.end_document(Span {
                start: end,
                end,
                position: Position::START,
            });
        }
    }
}

fn is_unspecific(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!" || tag.handle == "!" && tag.suffix.is_empty()
}

impl Value {
    /// The value in words: `the number 1.10`, `a list`.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(_, text) | Value::Float(_, text) => format!("the number {}", shown(text)),
            Value::Text(text) => format!("the text `{}`", shown(text)),
            Value::Null | Value::List(_) | Value::Map(_) => self.kind().to_owned(),
        }
    }

    /// What kind of value it is, without the value: `a number`, `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "empty",
            Value::Bool(_) => "a truth value",
            Value::Int(..) | Value::Float(..) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}
