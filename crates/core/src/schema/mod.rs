//! What the objects look like, and every text that says so.
//!
//! The Rust types of [`crate::api`] are read once through schemars into a
//! [`Shape`]; the check of a manifest walks it, and the published JSON Schemas
//! (`json`), CustomResourceDefinitions (`crd`) and the reference
//! (`docs`) are written from it. So they cannot disagree.

mod columns;
mod crd;
mod docs;
mod json;
mod shape;

use std::sync::OnceLock;

pub use columns::{Column, columns};
pub use shape::{Field, Scalar, Shape, list_key};

use crate::api::{Application, Host, Kind, Tenant};

/// The shape of an object of this kind.
#[must_use]
pub fn of(kind: Kind) -> &'static Field {
    static SHAPES: OnceLock<[Field; 3]> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        [
            shape::read::<Tenant>(),
            shape::read::<Application>(),
            shape::read::<Host>(),
        ]
    });
    match kind {
        Kind::Tenant => &shapes[0],
        Kind::Application => &shapes[1],
        Kind::Host => &shapes[2],
    }
}

/// The schema of this kind as CustomResourceDefinitions and OpenAPI have it.
#[must_use]
pub fn structural(kind: Kind) -> serde_json::Value {
    crd::root(kind)
}

/// The generated files: paths under the repository's `manifests/` and their
/// texts.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for kind in Kind::ALL {
        files.push((
            format!("schemas/{}.json", kind.singular()),
            pretty(&json::schema(kind)),
        ));
    }
    files.push(("schemas/all.json".into(), pretty(&json::all())));
    for kind in Kind::ALL {
        files.push((
            format!("crds/{}.{}.yaml", kind.plural(), crate::api::GROUP),
            crd::text(kind),
        ));
    }
    files.push(("../docs/objects.md".into(), docs::text()));
    files.push(("../docs/events.md".into(), crate::event::reference()));
    files.push(("../docs/drift.md".into(), crate::drift::reference()));
    files.push(("../docs/reasons.md".into(), crate::status::reference()));
    files
}

fn pretty(json: &serde_json::Value) -> String {
    // The alternate form of a JSON value is pretty-printed and cannot fail.
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests;
