//! Who set which fields of an object: the rules of Kubernetes' server-side
//! apply (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).
//!
//! [`Managed`] is kept beside the object's record and never in the person's
//! manifest. What nobody is known to have set was set by the manifest itself,
//! under the name [`MANIFEST`]: so a field that a person changes in the file
//! is theirs from then on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::fields::{FieldPath, FieldSet, Step, below, keyed, shown};
use crate::api::{API_VERSION, Kind};
use crate::schema::{self, Shape};

/// The manager of what the manifest says and no program set.
pub const MANIFEST: &str = "manifest";

/// Who set which fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Managed(Vec<Manager>);

/// The fields of one manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manager {
    /// The manager's name.
    pub manager: String,
    /// How it set them.
    pub operation: Operation,
    /// The version of the objects' group.
    pub api_version: String,
    /// When they last became others (RFC 3339, UTC).
    pub time: String,
    /// Always `FieldsV1`.
    pub fields_type: String,
    /// The fields.
    pub fields_v1: FieldSet,
}

/// How a manager sets fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// By server-side apply: what it no longer says goes.
    Apply,
    /// By any other write.
    Update,
}

/// A server-side apply.
#[derive(Debug, Clone, Copy)]
pub struct Apply<'a> {
    /// Who applies.
    pub manager: &'a str,
    /// What is to be so; fields that are not named are left to others.
    pub config: &'a Json,
    /// Whether to take over fields of others.
    pub force: bool,
    /// The time (RFC 3339, UTC).
    pub now: &'a str,
}

/// What an apply comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object.
    pub object: Json,
    /// Who then has set what.
    pub managed: Managed,
}

/// A field that another manager has set otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager.
    pub manager: String,
    /// How it set the field.
    pub operation: Operation,
    /// The field, as `.spec.version`.
    pub field: String,
}

/// The parts of an object that are a person's to set.
fn own(object: &Json) -> Json {
    let mut out = Map::new();
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.into(), value.clone());
        }
    }
    if !metadata.is_empty() {
        out.insert("metadata".into(), metadata.into());
    }
    if let Some(spec) = object.get("spec") {
        out.insert("spec".into(), spec.clone());
    }
    said(out.into())
}

/// Without what says nothing: a field that is `null`, a mapping without fields.
fn said(value: Json) -> Json {
    let says = |value: &Json| match value {
        Json::Null => false,
        Json::Object(map) => !map.is_empty(),
        _ => true,
    };
    match value {
        Json::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, said(value)))
            .filter(|(_, value)| says(value))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

fn fields(object: &Json, shape: &Shape) -> FieldSet {
    let own = own(object);
    if own.as_object().is_some_and(Map::is_empty) {
        return FieldSet::default();
    }
    FieldSet::of(&own, shape)
}

impl Managed {
    /// Whether no program is known to have set anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The managers.
    #[must_use]
    pub fn managers(&self) -> &[Manager] {
        &self.0
    }

    /// Takes in that an object was changed by something other than an apply.
    /// What was changed is `manager`'s then; without a name it is the
    /// manifest's.
    pub fn update(&mut self, kind: Kind, (old, new): (&Json, &Json), by: Option<(&str, &str)>) {
        let shape = &schema::of(kind).shape;
        let (before, after) = (fields(old, shape), fields(new, shape));
        let gone = FieldSet(before.0.difference(&after.0).cloned().collect());
        let (was, is) = (own(old), own(new));
        let differs = |path: &&FieldPath| get(&was, path) != get(&is, path);
        let changed = FieldSet(after.0.iter().filter(differs).cloned().collect());
        if gone.is_empty() && changed.is_empty() {
            return;
        }
        let is_item = |path: &FieldPath| matches!(path.last(), Some(Step::Item(..)));
        for manager in &mut self.0 {
            // An item stays an item of those who have it, whatever is in it.
            manager.fields_v1.0.retain(|path| {
                !gone.0.contains(path) && (is_item(path) || !changed.0.contains(path))
            });
        }
        if let Some((name, now)) = by {
            let mut set = self.set_of(name, Operation::Update);
            let come = changed
                .0
                .iter()
                .filter(|path| !is_item(path) || !before.0.contains(*path));
            set.0.extend(come.cloned());
            self.put((name, Operation::Update), set, now);
        }
        self.0.retain(|manager| !manager.fields_v1.is_empty());
    }

    /// Applies a configuration to an object; to a new one, if there is none.
    ///
    /// # Errors
    /// What others have set otherwise, unless it is forced.
    pub fn apply(
        &self,
        kind: Kind,
        live: Option<&Json>,
        apply: &Apply<'_>,
    ) -> Result<Applied, Vec<Conflict>> {
        let shape = &schema::of(kind).shape;
        let config = own(apply.config);
        let wanted = fields(&config, shape);
        let empty = Json::Object(Map::new());
        let live = live.unwrap_or(&empty);
        let was = own(live);
        let others = self.others(apply.manager, &fields(&was, shape));
        let is_item = |path: &&FieldPath| matches!(path.last(), Some(Step::Item(..)));
        let differs = |path: &&FieldPath| get(&was, path) != get(&config, path);
        let disputed = |path: &&FieldPath| !is_item(path) && differs(path);
        let taken = FieldSet(wanted.0.iter().filter(disputed).cloned().collect());
        let conflicts: Vec<Conflict> = others
            .iter()
            .flat_map(|(manager, operation, set)| {
                let both = taken.0.intersection(&set.0);
                both.map(|path| Conflict {
                    manager: (*manager).to_owned(),
                    operation: *operation,
                    field: shown(path),
                })
            })
            .collect();
        if !conflicts.is_empty() && !apply.force {
            return Err(conflicts);
        }
        let mut object = apply.config.clone();
        if let Json::Object(map) = live
            && !map.is_empty()
        {
            object = live.clone();
        }
        combine(&mut object, &config, Some(shape));
        let before = self.set_of(apply.manager, Operation::Apply);
        for path in before.0.difference(&wanted.0) {
            let kept = |(_, _, set): &(&str, Operation, FieldSet)| set.reaches(path);
            if !others.iter().any(kept) && !wanted.reaches(path) {
                remove(&mut object, path);
            }
        }
        let mut managed = self.clone();
        for manager in &mut managed.0 {
            if (manager.manager.as_str(), manager.operation) != (apply.manager, Operation::Apply) {
                manager.fields_v1.without(&taken);
            }
        }
        managed.put((apply.manager, Operation::Apply), wanted, apply.now);
        let left = fields(&object, shape);
        for manager in &mut managed.0 {
            manager.fields_v1.0.retain(|path| left.0.contains(path));
        }
        managed.0.retain(|manager| !manager.fields_v1.is_empty());
        Ok(Applied { object, managed })
    }

    /// What everybody but this applier has set, the manifest among them.
    fn others(&self, applier: &str, all: &FieldSet) -> Vec<(&str, Operation, FieldSet)> {
        let mut rest = all.clone();
        for manager in &self.0 {
            rest.0.retain(|path| !manager.fields_v1.0.contains(path));
        }
        let mut out = vec![(MANIFEST, Operation::Update, rest)];
        for manager in &self.0 {
            if (manager.manager.as_str(), manager.operation) != (applier, Operation::Apply) {
                let set = manager.fields_v1.clone();
                out.push((&manager.manager, manager.operation, set));
            }
        }
        out
    }

    fn set_of(&self, name: &str, operation: Operation) -> FieldSet {
        let is_it = |m: &&Manager| m.manager == name && m.operation == operation;
        let found = self.0.iter().find(is_it);
        found.map_or_else(FieldSet::default, |manager| manager.fields_v1.clone())
    }

    fn put(&mut self, (name, operation): (&str, Operation), set: FieldSet, now: &str) {
        let is_it = |m: &&mut Manager| m.manager == name && m.operation == operation;
        match self.0.iter_mut().find(is_it) {
            Some(manager) if manager.fields_v1 == set => {}
            Some(manager) => {
                manager.fields_v1 = set;
                now.clone_into(&mut manager.time);
            }
            None => self.0.push(Manager {
                manager: name.to_owned(),
                operation,
                api_version: API_VERSION.to_owned(),
                time: now.to_owned(),
                fields_type: "FieldsV1".to_owned(),
                fields_v1: set,
            }),
        }
    }
}

/// Puts what a configuration says into an object.
fn combine(target: &mut Json, config: &Json, shape: Option<&Shape>) {
    match (target, config, shape) {
        (Json::Object(map), Json::Object(new), Some(Shape::Object { .. } | Shape::Map { .. })) => {
            for (key, value) in new {
                let at = map.entry(key.clone()).or_insert(Json::Null);
                combine(at, value, below(shape, key));
            }
        }
        (Json::Array(items), Json::Array(new), Some(Shape::List { items: of, .. }))
            if keyed(items, of).is_some() =>
        {
            let Some(wanted) = keyed(new, of) else {
                *items = new.clone();
                return;
            };
            for (step, value) in wanted {
                match items.iter_mut().find(|item| is_item(item, &step)) {
                    Some(item) => combine(item, value, Some(of)),
                    None => items.push(value.clone()),
                }
            }
        }
        (target, config, _) => *target = config.clone(),
    }
}

fn is_item(item: &Json, step: &Step) -> bool {
    match step {
        Step::Item(key, value) => item.get(key).and_then(Json::as_str) == Some(value),
        Step::Field(_) => false,
    }
}

fn get<'v>(value: &'v Json, path: &FieldPath) -> Option<&'v Json> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(..) => value.as_array()?.iter().find(|item| is_item(item, step)),
    })
}

/// Takes the value at a path out, and every mapping and list that is empty
/// then.
fn remove(value: &mut Json, path: &[Step]) -> bool {
    let [step, rest @ ..] = path else {
        return true;
    };
    match (value, step) {
        (Json::Object(map), Step::Field(name)) => {
            let empty = map.get_mut(name).is_some_and(|below| remove(below, rest));
            if empty {
                map.remove(name);
            }
            map.is_empty()
        }
        (Json::Array(items), Step::Item(..)) => {
            let found = items.iter_mut().position(|item| is_item(item, step));
            if let Some(at) = found
                && remove(&mut items[at], rest)
            {
                items.remove(at);
            }
            items.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
