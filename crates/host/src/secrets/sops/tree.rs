//! The text of a SOPS file as a list of values, with what SOPS wrote beside
//! them.
//!
//! YAML (and JSON, which is YAML) has it under the key `sops`; a file of
//! variables has it in variables that start with `sops_`.

use cb_core::yaml::{Node, Value, parse};

/// A file before it is decrypted.
#[derive(Debug)]
pub(super) struct Tree {
    /// The values in the order of the file.
    pub(super) leaves: Vec<Leaf>,
    /// The data key, encrypted for each age recipient.
    pub(super) recipients: Vec<String>,
    /// The encrypted MAC.
    pub(super) mac: String,
    /// When the file was changed last, as it is written: it binds the MAC.
    pub(super) last_modified: String,
    /// Whether values that are not encrypted are left out of the MAC.
    pub(super) mac_only_encrypted: bool,
}

/// A value.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its place for people: keys and numbers of items joined by dots.
    pub(super) place: String,
    /// Its keys. SOPS does not count the items of a list.
    keys: Vec<String>,
    pub(super) value: Scalar,
}

/// A value as it is written; one that is encrypted is text.
#[derive(Debug)]
pub(super) enum Scalar {
    Text(String),
    Number(String),
    Bool(bool),
}

impl Leaf {
    /// What binds the encrypted value to its place.
    pub(super) fn additional_data(&self) -> String {
        self.keys.iter().map(|key| format!("{key}:")).collect()
    }
}

/// What is missing in a file that SOPS did not encrypt.
const NOT_SOPS: &str = "it is not encrypted by SOPS: it has no `sops` metadata";
/// The form of SOPS in which the data key is in parts.
const SHAMIR: &str = "its data key is split over several key groups, which is not supported; encrypt it for one group";

pub(super) fn of_yaml(text: &str) -> Result<Tree, String> {
    let parsed = parse(text);
    if let Some(error) = parsed.errors.first() {
        let at = error.position;
        return Err(format!("line {}:{}: {}", at.line, at.column, error.message));
    }
    let [document] = parsed.documents.as_slice() else {
        return Err("it must be one YAML document".to_owned());
    };
    let root = &document.root;
    let Value::Map(entries) = &root.value else {
        return Err("it must be a YAML mapping".to_owned());
    };
    let metadata = &root.entry("sops").ok_or(NOT_SOPS)?.value;
    if is_set(metadata, "key_groups") || is_set(metadata, "shamir_threshold") {
        return Err(SHAMIR.to_owned());
    }
    let recipients = match metadata.entry("age").map(|entry| &entry.value.value) {
        Some(Value::List(items)) => items
            .iter()
            .filter_map(|item| item.text("enc").map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let text = |key: &str| {
        let found = metadata.text(key).map(str::to_owned);
        found.ok_or_else(|| format!("sops.{key} is missing"))
    };
    let only = metadata.entry("mac_only_encrypted");
    let mut tree = Tree {
        leaves: Vec::new(),
        recipients,
        mac: text("mac")?,
        last_modified: text("lastmodified")?,
        mac_only_encrypted: only.is_some_and(|entry| entry.value.value == Value::Bool(true)),
    };
    for entry in entries.iter().filter(|entry| entry.key != "sops") {
        let keys = vec![entry.key.clone()];
        collect(&entry.value, &keys, &entry.key, &mut tree.leaves);
    }
    Ok(tree)
}

fn is_set(metadata: &Node, key: &str) -> bool {
    let entry = metadata.entry(key);
    entry.is_some_and(|entry| match &entry.value.value {
        Value::Null => false,
        Value::List(items) => !items.is_empty(),
        Value::Int(n, _) => *n != 0,
        _ => true,
    })
}

fn collect(node: &Node, keys: &[String], place: &str, out: &mut Vec<Leaf>) {
    let value = match &node.value {
        // SOPS leaves it as it is and out of the MAC.
        Value::Null => return,
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Int(value, _) => Scalar::Number(value.to_string()),
        Value::Float(value, _) => Scalar::Number(value.to_string()),
        Value::Text(text) => Scalar::Text(text.clone()),
        Value::List(items) => {
            for (n, item) in items.iter().enumerate() {
                collect(item, keys, &format!("{place}.{n}"), out);
            }
            return;
        }
        Value::Map(entries) => {
            for entry in entries {
                let below = [keys, std::slice::from_ref(&entry.key)].concat();
                collect(&entry.value, &below, &format!("{place}.{}", entry.key), out);
            }
            return;
        }
    };
    out.push(Leaf {
        place: place.to_owned(),
        keys: keys.to_vec(),
        value,
    });
}

/// What the names of the metadata's variables start with.
const PREFIX: &str = "sops_";

pub(super) fn of_dotenv(text: &str) -> Result<Tree, String> {
    let mut leaves = Vec::new();
    let mut metadata = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} is not NAME=VALUE", n + 1))?;
        let value = value.replace("\\n", "\n");
        match name.strip_prefix(PREFIX) {
            Some(name) => metadata.push((name.to_owned(), value)),
            None => leaves.push(Leaf {
                place: name.to_owned(),
                keys: vec![name.to_owned()],
                value: Scalar::Text(value),
            }),
        }
    }
    if metadata.is_empty() {
        return Err(NOT_SOPS.to_owned());
    }
    let find = |key: &str| {
        let mut found = metadata.iter().filter(|(name, _)| name == key);
        found.next().map(|(_, value)| value.clone())
    };
    let text = |key: &str| find(key).ok_or_else(|| format!("{PREFIX}{key} is missing"));
    if metadata
        .iter()
        .any(|(name, _)| name.starts_with("key_groups__"))
        || find("shamir_threshold").is_some_and(|threshold| threshold != "0")
    {
        return Err(SHAMIR.to_owned());
    }
    let is_key = |name: &str| name.starts_with("age__list_") && name.ends_with("__map_enc");
    let recipients = metadata.iter().filter(|(name, _)| is_key(name));
    Ok(Tree {
        recipients: recipients.map(|(_, value)| value.clone()).collect(),
        mac: text("mac")?,
        last_modified: text("lastmodified")?,
        mac_only_encrypted: find("mac_only_encrypted").as_deref() == Some("true"),
        leaves,
    })
}
