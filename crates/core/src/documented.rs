//! Closed lists of words that people are told, each explained in a reference
//! under `docs/` that is written from the list.

use std::fmt::Write as _;

/// What the reference says of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What it means.
    pub meaning: &'static str,
    /// What the operator does.
    pub operator: &'static str,
    /// What a person should do.
    pub person: &'static str,
}

impl About {
    /// Adds the part of the reference below a heading. `first` is put before the
    /// meaning, and `operator` says whose doing the second text is.
    pub(crate) fn write(self, out: &mut String, heading: &str, first: &str, operator: &str) {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n{heading}\n\n{first}{}\n\n- **{operator}:** {}\n- **You:** {}\n",
            self.meaning, self.operator, self.person
        );
    }
}

/// Declares such a list: of each word its name and the three texts of [`About`],
/// and between them, if the list has one, the word's value of another list.
macro_rules! documented {
    (
        $(#[$doc:meta])* enum $list:ident;
        $($name:ident: $meaning:literal, $operator:literal, $person:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $list {
            $(#[doc = $meaning] $name,)*
        }

        impl $list {
            /// All of them, in the order of the reference.
            pub const ALL: &[$list] = &[$($list::$name,)*];

            /// The CamelCase word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($list::$name => stringify!($name),)*
                }
            }

            /// What the reference says of it.
            #[must_use]
            pub fn about(self) -> $crate::documented::About {
                match self {
                    $($list::$name => $crate::documented::About {
                        meaning: $meaning,
                        operator: $operator,
                        person: $person,
                    },)*
                }
            }
        }

        impl std::fmt::Display for $list {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    (
        $(#[$doc:meta])* enum $list:ident;
        $(#[$of:meta])* fn $method:ident -> $kind:ident;
        $($name:ident: $value:ident, $meaning:literal, $operator:literal, $person:literal;)*
    ) => {
        $crate::documented::documented! {
            $(#[$doc])* enum $list;
            $($name: $meaning, $operator, $person;)*
        }

        impl $list {
            $(#[$of])*
            #[must_use]
            pub fn $method(self) -> $kind {
                match self {
                    $($list::$name => $kind::$value,)*
                }
            }
        }
    };
}

pub(crate) use documented;

/// That a reference has every word, with all that there is to say of it.
#[cfg(test)]
pub(crate) fn assert_in(docs: &str, words: impl IntoIterator<Item = (&'static str, About)>) {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(docs);
    let docs = std::fs::read_to_string(docs).unwrap();
    for (word, about) in words {
        assert!(docs.contains(&format!("\n## {word}\n")), "{word}");
        for text in [about.meaning, about.operator, about.person] {
            assert!(text.ends_with('.') && docs.contains(text), "{word}: {text}");
        }
    }
}
