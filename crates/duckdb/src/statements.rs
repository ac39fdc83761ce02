//! Finds statements in a migration that would end the transaction it runs in,
//! or lead out of its database, before any of it runs.
//!
//! Looks at the first word of every statement, and knows what is text and
//! comment. It is no parser; DuckDB is.

/// The first words that a migration may not have. `migrate` runs it in one
/// transaction together with its record, and with the other migrations.
const REFUSED: [&str; 11] = [
    "ABORT",
    "ATTACH",
    "BEGIN",
    "CHECKPOINT",
    "COMMIT",
    "DETACH",
    "END",
    "FORCE",
    "ROLLBACK",
    "START",
    "USE",
];

/// The first refused statement of `sql`: its line, from 1, and its word.
pub(crate) fn refused(sql: &str) -> Option<(usize, &'static str)> {
    let mut at_start = true;
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        let (length, is_space) = token(rest, letter);
        if letter == ';' {
            at_start = true;
        } else if !is_space {
            let word = &rest[..length];
            if at_start
                && let Some(refused) = REFUSED.iter().find(|name| word.eq_ignore_ascii_case(name))
            {
                let before = &sql[..sql.len() - rest.len()];
                return Some((before.matches('\n').count() + 1, refused));
            }
            at_start = false;
        }
        rest = &rest[length..];
    }
    None
}

/// The length of the token that `rest` begins with, and whether it is space or
/// a comment.
fn token(rest: &str, letter: char) -> (usize, bool) {
    if rest.starts_with("--") {
        return (rest.find('\n').unwrap_or(rest.len()), true);
    }
    if rest.starts_with("/*") {
        return (comment(rest), true);
    }
    if (letter == 'e' || letter == 'E') && rest[1..].starts_with('\'') {
        return (1 + string(&rest[1..], '\'', true), false);
    }
    match letter {
        '\'' | '"' => (string(rest, letter, false), false),
        '$' => (dollar(rest), false),
        _ if is_word(letter) => (
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            false,
        ),
        _ => (letter.len_utf8(), letter.is_whitespace()),
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// A comment in stars, which may hold others.
fn comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A text or name in quotes; two quotes stand for one.
fn string(rest: &str, quote: char, escapes: bool) -> usize {
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            match letters.peek() {
                Some((_, next)) if *next == quote => {
                    letters.next();
                }
                _ => return at + 1,
            }
        }
    }
    rest.len()
}

/// A text like `$tag$ … $tag$`, or a lone `$`.
fn dollar(rest: &str) -> usize {
    let Some(end) = rest[1..].find('$') else {
        return 1;
    };
    let tag = &rest[..end + 2];
    if !tag[1..tag.len() - 1].chars().all(is_word) {
        return 1;
    }
    rest[tag.len()..]
        .find(tag)
        .map_or(rest.len(), |at| tag.len() + at + tag.len())
}

#[cfg(test)]
mod tests {
    use super::refused;

    #[test]
    fn statements_that_end_the_transaction_are_found_with_their_line() {
        for (sql, line, word) in [
            ("COMMIT", 1, "COMMIT"),
            ("SELECT 1;\n  begin transaction;", 2, "BEGIN"),
            ("/* a /* b */ c */ Rollback", 1, "ROLLBACK"),
            ("-- x\n\nSTART TRANSACTION;", 3, "START"),
            ("SELECT ';';;end;", 1, "END"),
            ("SELECT $a$ ; $b$ $a$; use memory", 1, "USE"),
            ("SELECT E'\\';'; commit", 1, "COMMIT"),
            ("SELECT \"a;\"\"b\";\nCHECKPOINT", 2, "CHECKPOINT"),
        ] {
            assert_eq!(refused(sql), Some((line, word)), "{sql}");
        }
    }

    #[test]
    fn words_within_statements_and_texts_are_let_through() {
        for sql in [
            "",
            "SELECT CASE WHEN true THEN 1 END",
            "INSERT INTO t VALUES ('; COMMIT;')",
            "-- COMMIT\n/* BEGIN; */ SELECT 1",
            "CREATE TABLE commits (begin_at INT); SELECT $$; COMMIT; $$",
            "SELECT 'it''s; COMMIT'; SELECT '\\'",
            "SELECT \"; COMMIT",
            "ALTER TABLE ä ADD COLUMN commit INT -- é",
        ] {
            assert_eq!(refused(sql), None, "{sql}");
        }
    }
}
