//! The forms in which objects are given: whole, as a table that kubectl
//! prints as it is, or their metadata alone
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/>).

use axum::http::HeaderMap;
use cb_core::api::{API_VERSION, Kind};
use cb_core::elapsed::age;
use cb_core::schema::columns;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::query;
use super::request::Options;
use super::status::Failure;

/// What is given of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Everything.
    Object,
    /// Cells for the columns, and of each object this.
    Table(Include),
    /// `PartialObjectMetadata`.
    Metadata,
}

/// What a row of a table has of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Object,
}

/// What kind of table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sheet {
    /// The objects of a kind.
    Of(Kind),
    /// Events as their own group has them.
    Events,
    /// Events as the core group has them.
    CoreEvents,
    /// Fleet upgrades, which are given whole alone.
    Rollouts,
}

const META: &str = "meta.k8s.io/v1";

impl Form {
    /// The form that the client likes best among those that there are.
    pub(super) fn of(headers: &HeaderMap, options: &Options) -> Result<Self, Failure> {
        let include = match options.get("includeObject")? {
            None | Some("Metadata") => Include::Metadata,
            Some("Object") => Include::Object,
            Some("None") => Include::Nothing,
            Some(_) => {
                return Err(Failure::bad_request(
                    "`includeObject` must be None, Metadata or Object",
                ));
            }
        };
        let form = super::request::ranges(headers)
            .into_iter()
            .find_map(|range| match query::form_in(&range)? {
                "" => Some(Form::Object),
                "table" => Some(Form::Table(include)),
                "partialobjectmetadata" | "partialobjectmetadatalist" => Some(Form::Metadata),
                _ => None,
            });
        Ok(form.unwrap_or(Form::Object))
    }

    /// One object in this form.
    pub(super) fn one(self, sheet: Sheet, object: Value) -> Value {
        match self {
            Form::Object => object,
            Form::Metadata => partial(&object),
            Form::Table(include) => {
                let version = object["metadata"]["resourceVersion"].clone();
                let metadata = json!({"resourceVersion": version});
                table(sheet, &metadata, &[object], include)
            }
        }
    }

    /// A list in this form.
    pub(super) fn list(self, sheet: Sheet, mut list: Value) -> Value {
        if self == Form::Object {
            return list;
        }
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        match self {
            Form::Table(include) => table(sheet, &list["metadata"], &items, include),
            Form::Object | Form::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": META,
                "metadata": list["metadata"],
                "items": items.iter().map(partial).collect::<Vec<_>>(),
            }),
        }
    }
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": META,
        "metadata": object["metadata"],
    })
}

fn table(sheet: Sheet, metadata: &Value, objects: &[Value], include: Include) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": sheet.cells(object, now)});
            match include {
                Include::Nothing => {}
                Include::Metadata => row["object"] = partial(object),
                Include::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": META,
        "metadata": metadata,
        "columnDefinitions": sheet.columns(),
        "rows": rows,
    })
}

impl Sheet {
    /// `apiVersion` and `kind` of the objects.
    pub(super) fn identity(self) -> (&'static str, &'static str) {
        match self {
            Sheet::Of(kind) => (API_VERSION, kind.as_str()),
            Sheet::Events => ("events.k8s.io/v1", "Event"),
            Sheet::CoreEvents => ("v1", "Event"),
            Sheet::Rollouts => ("operator/v1", "Rollout"),
        }
    }

    fn columns(self) -> Vec<Value> {
        let column = |name: &str, kind: &str, about: &str, wide: bool| {
            let format = if name == "Name" { "name" } else { "" };
            json!({
                "name": name, "type": kind, "format": format,
                "description": about, "priority": i32::from(wide),
            })
        };
        match self {
            Sheet::Rollouts => Vec::new(),
            Sheet::Of(kind) => {
                let name = column("Name", "string", "The object's name.", false);
                let others = columns(kind)
                    .iter()
                    .map(|of| column(of.name, of.kind, of.about, of.wide));
                std::iter::once(name).chain(others).collect()
            }
            Sheet::Events | Sheet::CoreEvents => [
                ("Last Seen", "How long ago it last happened."),
                ("Type", "Normal or Warning."),
                ("Reason", "What happened, in a word."),
                ("Object", "To what it happened."),
                ("Message", "What happened."),
            ]
            .into_iter()
            .map(|(name, about)| column(name, "string", about, false))
            .chain([column("Name", "string", "The event's name.", true)])
            .collect(),
        }
    }

    fn cells(self, object: &Value, now: Timestamp) -> Vec<Value> {
        let since = |time: Option<&str>| age(time.and_then(|time| time.parse().ok()), now).into();
        match self {
            Sheet::Rollouts => Vec::new(),
            Sheet::Of(kind) => {
                let name = object["metadata"]["name"].clone();
                let others = columns(kind).iter().map(|column| {
                    let value = column.value(object);
                    match (column.kind, value) {
                        ("date", value) => since(value.and_then(Value::as_str)),
                        // kubectl prints these words for what is not there.
                        (_, None | Some(Value::Null)) => Value::Null,
                        (_, Some(value)) => value.clone(),
                    }
                });
                std::iter::once(name).chain(others).collect()
            }
            Sheet::Events | Sheet::CoreEvents => {
                let first = |fields: [&str; 2]| {
                    let found = fields.into_iter().find_map(|field| object.get(field));
                    found.cloned().unwrap_or_default()
                };
                let regarding = first(["regarding", "involvedObject"]);
                let kind = regarding["kind"].as_str().unwrap_or_default();
                let name = regarding["name"].as_str().unwrap_or_default();
                let seen = first(["deprecatedLastTimestamp", "lastTimestamp"]);
                vec![
                    since(seen.as_str()),
                    object["type"].clone(),
                    object["reason"].clone(),
                    format!("{}/{name}", kind.to_lowercase()).into(),
                    first(["note", "message"]),
                    object["metadata"]["name"].clone(),
                ]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    fn form(accept: &str) -> Form {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        Form::of(&headers, &Options::default()).unwrap()
    }

    #[test]
    fn the_first_form_that_is_known_is_given() {
        let table = Form::Table(Include::Metadata);
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl), table);
        assert_eq!(form("application/json"), Form::Object);
        assert_eq!(form("*/*"), Form::Object);
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(old), Form::Object);
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(partial), Form::Metadata);
    }

    #[test]
    fn a_table_has_a_cell_for_each_column() {
        let object = json!({"metadata": {"name": "ky04"}, "spec": {"version": "v1"}});
        for sheet in [
            Sheet::Of(Kind::Tenant),
            Sheet::Of(Kind::Host),
            Sheet::Events,
        ] {
            let table = Form::Table(Include::Nothing).one(sheet, object.clone());
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns);
            assert!(table["rows"][0].get("object").is_none());
        }
    }
}
