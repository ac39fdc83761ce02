//! Tokens, as the operator keeps them and as they travel: what is kept is the
//! same when it is read again, a broken scope opens nothing, and what a client
//! has in its file is what the operator gets.

#![no_main]

use cb_core::access::{Token, header_of, token_in_file, token_in_header};
use cb_core::selector::Selector;
use libfuzzer_sys::fuzz_target;

// One text, as each of what it could be: a file of the operator's, a file of a
// client's, a header.
fuzz_target!(|text: &str| {
    if let Ok(token) = serde_yaml::from_str::<Token>(text) {
        keeps_its_promises(&token);
    }
    if let Some(token) = token_in_file(text) {
        assert!(!token.is_empty() && token.trim() == token);
        assert_eq!(token_in_file(token), Some(token));
        assert_eq!(token_in_header(&header_of(token)), Some(token));
        let other = header_of(token).replacen("Bearer", "bEARER", 1);
        assert_eq!(token_in_header(&other), Some(token));
    } else {
        assert_eq!(text.trim(), "");
    }
    if let Some(token) = token_in_header(text) {
        assert!(text.to_ascii_lowercase().starts_with("bearer "));
        assert_eq!(token_in_header(&header_of(token)), Some(token));
    }
});

fn keeps_its_promises(token: &Token) {
    let yaml = serde_yaml::to_string(token).expect("a token can be written");
    let read: Token = serde_yaml::from_str(&yaml).expect("what was written can be read");
    assert_eq!(read, *token, "{yaml:?}");
    let scope = &token.scope;
    let has = scope.has("ky04", |_| Some("canary"));
    if scope.is_all() {
        assert!(has);
    }
    match scope.check() {
        Ok(()) => {}
        Err(error) => {
            assert!(!error.chars().any(char::is_control), "{error:?}");
            // Two ways to say for whom: at most what the selector says.
            let broken = scope.selector.as_ref();
            let broken = broken.is_some_and(|text| text.parse::<Selector>().is_err());
            assert!(!broken || !has, "{token:?}");
        }
    }
    let early = "1970-01-01T00:00:00Z".parse().expect("a valid constant");
    let late = "9000-01-01T00:00:00Z".parse().expect("a valid constant");
    // It does not become good again.
    assert!(!token.has_expired(early) || token.has_expired(late));
    assert!(token.expires.is_some() || !token.has_expired(late));
}
