//! The requests about the log of changes.

use serde::{Deserialize, Serialize};

use super::api::escaped;
use super::{Ask, Client, Error};

/// A change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) time: String,
    pub(crate) user: String,
    pub(crate) from: String,
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<String>,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Entry>,
}

impl Client {
    /// The newest changes that these options of the query leave, the oldest
    /// first.
    pub(crate) async fn audit(&self, query: &[(&str, String)]) -> Result<Vec<Entry>, Error> {
        let query = query.iter();
        let query = query.map(|(key, value)| format!("{key}={}", escaped(value)));
        let query = query.collect::<Vec<_>>().join("&");
        let items: Items = self
            .json(Ask::get(format!("/operator/v1/audit?{query}")))
            .await?;
        Ok(items.items)
    }
}
