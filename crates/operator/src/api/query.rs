//! Text that a request carries besides its body: the query, a place in a list,
//! and the media types that the client takes. Pure, and without a word of HTTP's
//! own: what is refused is said in a line, which never quotes control characters.

use std::collections::BTreeMap;

use cb_core::types::shown;

/// The options of a URL, with their values in the order they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads what stands behind the `?` of a URL. Everything has a meaning.
    pub(super) fn read(text: &str) -> Self {
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let values = out.entry(key.into_owned()).or_default();
            values.push(value.into_owned());
        }
        Self(out)
    }

    /// Every value of an option.
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value of an option. An empty one counts as absent.
    pub(super) fn get(&self, key: &str) -> Result<Option<&str>, String> {
        match self.all(key) {
            [] => Ok(None),
            [value] => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
            _ => Err(format!("`{key}` is given twice")),
        }
    }

    /// Whether an option is on.
    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        match self.get(key)? {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(format!("`{key}` must be true or false")),
        }
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.get(key)? else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            let text = shown(text);
            format!("`{key}` must be a whole number, not `{text}`")
        })?;
        Ok(Some(number))
    }
}

/// The place in a list where a page ended, as `continue` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The revision of the list.
    pub(super) revision: u64,
    /// The last object of the page.
    pub(super) name: String,
}

impl Place {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let place = text.split_once('.').and_then(|(revision, name)| {
            Some(Self {
                revision: revision.parse().ok()?,
                name: name.to_owned(),
            })
        });
        place.ok_or_else(|| {
            let text = shown(text);
            format!("`{text}` is no `continue` of an answer; list without it")
        })
    }
}

/// The media ranges of `Accept` headers, in their order and in small letters.
pub(super) fn ranges<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    headers
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|range| String::from_utf8_lossy(range).trim().to_ascii_lowercase())
        .filter(|range| !range.is_empty())
        .collect()
}

/// Whether a media type (without parameters) is or stands for JSON.
pub(super) fn is_json(media: &str) -> bool {
    matches!(media, "application/json" | "application/*" | "*/*")
}

/// Whether one of these ranges, or there being none, takes JSON, whole or in one
/// of the forms of lists.
pub(super) fn take_json(ranges: &[String]) -> bool {
    let takes = |range: &String| {
        let mut parts = range.split(';').map(str::trim);
        let plain = is_json(parts.next().unwrap_or_default())
            && parts.all(|part| !part.starts_with("as=") && !matches!(part, "q=0" | "q=0.0"));
        plain || is_known(range)
    };
    ranges.is_empty() || ranges.iter().any(takes)
}

/// What a media range asks for in `as`; `None` if there is nothing of it here.
pub(super) fn form_in(range: &str) -> Option<&str> {
    let mut parts = range.split(';').map(str::trim);
    if !is_json(parts.next()?) {
        return None;
    }
    let mut form = "";
    for part in parts {
        match part.split_once('=')? {
            ("as", value) => form = value,
            ("v", "v1") | ("g", "meta.k8s.io") => {}
            // `v1beta1` of these forms is no longer anybody's.
            ("v" | "g", _) | ("q", "0" | "0.0") => return None,
            _ => {}
        }
    }
    Some(form)
}

/// Whether a range asks for a form that there is.
fn is_known(range: &str) -> bool {
    matches!(
        form_in(range),
        Some("table" | "partialobjectmetadata" | "partialobjectmetadatalist")
    )
}
