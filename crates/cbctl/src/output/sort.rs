//! The order of `--sort-by`: by a field of the objects, as kubectl sorts.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::Value;

use crate::error::CommandError;
use crate::object::Object;

/// Where a field is in each object: `.spec.version`, `{.status.ports.api}`,
/// `.spec.domains[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    written: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a field like .spec.version or .spec.domains[0]".to_owned();
        let inner = text
            .strip_prefix('{')
            .map_or(Some(text), |rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(wrong)?;
        let mut steps = Vec::new();
        for part in names(inner.strip_prefix('.').unwrap_or(inner)) {
            let (name, indexes) = match part.find('[') {
                Some(at) => part.split_at(at),
                None => (part.as_str(), ""),
            };
            if name.is_empty() {
                return Err(wrong());
            }
            steps.push(Step::Key(name.to_owned()));
            let mut rest = indexes;
            while let Some((index, more)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                steps.push(Step::Index(index.parse().map_err(|_| wrong())?));
                rest = more;
            }
            if !rest.is_empty() {
                return Err(wrong());
            }
        }
        Ok(Self {
            written: text.to_owned(),
            steps,
        })
    }
}

/// The parts between dots; `\.` is a dot of a name.
fn names(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, out.last_mut()) {
            ('.', _) => out.push(String::new()),
            ('\\', Some(name)) => name.extend(letters.next()),
            (letter, Some(name)) => name.push(letter),
            (_, None) => {}
        }
    }
    out
}

impl Field {
    fn of<'a>(&self, object: &'a Object) -> Option<&'a Value> {
        let mut at = object.value();
        for step in &self.steps {
            at = match step {
                Step::Key(key) => at.get(key)?,
                Step::Index(index) => at.get(index)?,
            };
        }
        Some(at)
    }

    /// Sorts objects by this field. Those that have it not come first; that
    /// none has it is an error.
    pub(crate) fn sort(&self, objects: &mut [Object]) -> Result<(), CommandError> {
        if !objects.is_empty() && objects.iter().all(|object| self.of(object).is_none()) {
            let message = format!("no object has the field \"{}\"", self.written);
            return Err(CommandError::failed(message).hint("`cbctl explain KIND` shows the fields"));
        }
        objects.sort_by(|a, b| compared(self.of(a), self.of(b)));
        Ok(())
    }
}

fn compared(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => natural(a, b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a
            .as_f64()
            .partial_cmp(&b.as_f64())
            .unwrap_or(Ordering::Equal),
        (Some(a), Some(b)) => a.to_string().cmp(&b.to_string()),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Numbers in texts count as numbers: `v2` is before `v10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = (first(left), first(right));
        if x.is_empty() || y.is_empty() {
            // The shorter first; `v01` and `v1` are not the same.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        }
        let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(x) && digits(y) {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (&left[x.len()..], &right[y.len()..]);
    }
}

/// The digits or the other letters that a text begins with.
fn first(text: &str) -> &str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(text: &str) -> Field {
        text.parse().unwrap()
    }

    fn sorted(by: &str, values: &[Value]) -> Vec<Value> {
        let mut objects: Vec<Object> = values.iter().cloned().map(Object::new).collect();
        field(by).sort(&mut objects).unwrap();
        objects
            .iter()
            .map(|object| object.value().clone())
            .collect()
    }

    #[test]
    fn fields_are_written_as_for_kubectl() {
        assert_eq!(field(".spec.version").steps, field("{.spec.version}").steps);
        assert_eq!(field("a").steps, [Step::Key("a".into())]);
        let steps = [Step::Key("a.b/c".into()), Step::Index(1), Step::Index(0)];
        assert_eq!(field(r".a\.b/c[1][0]").steps, steps);
        for bad in ["", ".", ".a..b", "{.a", ".a[x]", ".a[1", ".a[1]b", "[0]"] {
            assert!(bad.parse::<Field>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_count_as_numbers_and_nothing_comes_first() {
        let versions = ["v10.0", "v2.1", "v2.1-rc1", "v02.1", "v2"].map(|v| json!({"v": v}));
        let order = ["v2", "v02.1", "v2.1", "v2.1-rc1", "v10.0"].map(|v| json!({"v": v}));
        assert_eq!(sorted(".v", &versions), order);
        let numbers = [json!({"v": 10}), json!({}), json!({"v": 9})];
        let order = [json!({}), json!({"v": 9}), json!({"v": 10})];
        assert_eq!(sorted("{.v}", &numbers), order);
    }

    #[test]
    fn a_field_that_nothing_has_is_an_error() {
        let mut objects = [Object::new(json!({"v": 1}))];
        assert!(field(".w").sort(&mut objects).is_err());
        assert!(field(".w").sort(&mut []).is_ok());
    }
}
