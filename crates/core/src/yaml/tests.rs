use super::*;

fn first(text: &str) -> Error {
    parse(text).errors.into_iter().next().expect("an error")
}

fn at(text: &str) -> (usize, usize) {
    let position = first(text).position;
    (position.line, position.column)
}

fn root(text: &str) -> serde_json::Value {
    let parsed = parse(text);
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.documents.len(), 1);
    parsed.documents[0].root.to_json()
}

#[test]
fn a_syntax_error_has_its_place_and_a_hint() {
    assert_eq!(at("a: 1\nb: c: d\n"), (2, 5));
    let error = first("a:\n  - x\n b: 1\n");
    assert!(error.fatal && error.position.line == 3, "{error:?}");
    assert!(
        error.message.starts_with("this is not valid YAML: "),
        "{error:?}"
    );
    assert!(first("a: \"x\nb: 1\n").hint.unwrap().contains("quote"));
    assert!(first("a: [1, 2\nb: 1\n").hint.is_some());
}

#[test]
fn tabs_in_the_indentation_are_named() {
    let error = first("a:\n\tb: 1\n");
    assert_eq!(error.position.line, 2);
    assert!(error.hint.unwrap().contains("spaces"));
}

#[test]
fn what_stands_before_a_syntax_error_can_still_be_found() {
    let parsed = parse("kind: Tenant\nmetadata:\n  name: ky04\nspec: [\n");
    assert!(parsed.errors[0].fatal);
    let metadata = &parsed.documents[0].root.entry("metadata").unwrap().value;
    assert_eq!(metadata.text("name"), Some("ky04"));
}

#[test]
fn duplicate_keys_are_all_reported_with_the_line_of_the_first() {
    let parsed = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n");
    let errors: Vec<_> = parsed
        .errors
        .iter()
        .map(|e| {
            (
                e.position.line,
                e.path.to_string(),
                e.message.clone(),
                e.fatal,
            )
        })
        .collect();
    assert_eq!(
        errors,
        [
            (
                4,
                "b.c".into(),
                "`c` is already set on line 3".to_owned(),
                false
            ),
            (
                5,
                "a".into(),
                "`a` is already set on line 1".to_owned(),
                false
            ),
        ]
    );
}

/// Aliases cost what they stand for before they are copied.
#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let row = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{row}]\n"));
    }
    let error = first(&text);
    assert!(
        error.fatal && error.message.contains("100000 values"),
        "{error:?}"
    );
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(500_000),
        ["*a"; 10].join(", ")
    );
    assert!(first(&long).message.contains("bytes of text"));
}

#[test]
fn an_alias_stands_for_its_value_and_may_not_contain_itself() {
    assert_eq!(
        root("a: &x [1]\nb: *x\n"),
        serde_json::json!({"a": [1], "b": [1]})
    );
    assert!(first("a: &x [*x]\n").message.contains("contains it"));
    assert!(first("a: *nothing\n").fatal);
}

#[test]
fn nesting_is_limited_without_a_deep_stack() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    assert!(first(&deep).message.contains("levels of nesting"));
    assert!(first(&"[".repeat(100_000)).fatal);
    assert!(first(&"- ".repeat(100_000)).fatal);
    assert!(first(&"{a: ".repeat(100_000)).fatal);
}

#[test]
fn size_is_checked_before_anything_is_read() {
    let error = read_text(&vec![b'a'; MAX_BYTES + 1]).unwrap_err();
    assert!(
        error.fatal && error.message.contains("at most 1048576"),
        "{error:?}"
    );
    assert!(read_text(&vec![b'a'; MAX_BYTES]).is_ok());
}

#[test]
fn text_of_other_encodings_and_control_characters_are_refused_with_their_place() {
    assert_eq!(
        read_text(b"a: 1\nb: \xe4\n").unwrap_err().position,
        Position { line: 2, column: 4 }
    );
    assert!(
        read_text(b"\xff\xfea\0")
            .unwrap_err()
            .message
            .contains("UTF-16")
    );
    assert_eq!(
        read_text(b"a: \x07").unwrap_err().position,
        Position { line: 1, column: 4 }
    );
    assert_eq!(read_text("a: b\u{85}".as_bytes()), Ok("a: b\u{85}"));
}

#[test]
fn a_byte_order_mark_and_crlf_change_nothing() {
    let text = read_text("\u{feff}a: 1\r\nb:\r\n  - x\r\n".as_bytes()).unwrap();
    assert_eq!(root(text), serde_json::json!({"a": 1, "b": ["x"]}));
    assert_eq!(at("a: 1\r\nb: c: d\r\n"), (2, 5));
}

#[test]
fn positions_count_characters_and_spans_count_bytes() {
    let text = "ä: \"ö\"  # ü\nb: x\n";
    let parsed = parse(text);
    let root = &parsed.documents[0].root;
    let umlaut = root.entry("ä").unwrap().value.span;
    assert_eq!(umlaut.position, Position { line: 1, column: 4 });
    assert_eq!(&text[umlaut.start..umlaut.end], "\"ö\"");
    let b = root.entry("b").unwrap();
    assert_eq!(&text[b.key_span.start..b.key_span.end], "b");
    assert_eq!(&text[b.value.span.start..b.value.span.end], "x");
}

#[test]
fn a_text_can_have_many_documents_and_errors_name_theirs() {
    let parsed = parse("a: 1\n---\nb: 1\nb: 2\n---\nc: 1\n");
    assert_eq!(parsed.documents.len(), 3);
    assert_eq!(
        parsed.errors.iter().map(|e| e.document).collect::<Vec<_>>(),
        [1]
    );
    let parsed = parse("a: &x 1\n---\nb: *x\n");
    assert_eq!(
        parsed.errors[0].document, 1,
        "an anchor ends with its document"
    );
    assert_eq!(parse("").documents.len(), 0);
}

#[test]
fn keys_and_tags_outside_the_core_schema_are_refused() {
    assert!(first("1: a\n").message.contains("a key must be text"));
    assert!(first("[a]: b\n").message.contains("a key must be text"));
    assert!(
        first("a: &x {b: 1}\nc:\n  <<: *x\n")
            .message
            .contains("merge keys")
    );
    assert!(first("a: !!binary aGk=\n").message.contains("tag"));
    assert_eq!(root("a: !!str 1\n"), serde_json::json!({"a": "1"}));
}

/// Law 11: an unquoted secret can look like YAML.
#[test]
fn no_error_shows_a_value() {
    for text in [
        "a: !hunter2\n",
        "a: *hunter2\n",
        "a: !!hunter2 x\n",
        "a: hunter2: x\n",
        "a: 'hunter2\n",
    ] {
        let error = first(text);
        assert!(
            !format!("{}{:?}", error.message, error.hint).contains("hunter2"),
            "{error:?}"
        );
    }
}
