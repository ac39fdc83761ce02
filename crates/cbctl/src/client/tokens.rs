//! The requests about tokens, and about where the API is over TCP.

use cb_core::access::{Role, Scope};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::api::escaped;
use super::{Ask, Client, Error};

const PATH: &str = "/operator/v1/tokens";

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) scope: Scope,
    #[serde(default)]
    pub(crate) created: Option<String>,
    #[serde(default)]
    pub(crate) expires: Option<String>,
    #[serde(default)]
    pub(crate) expired: bool,
}

/// A token that was just made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    #[serde(flatten)]
    pub(crate) token: Token,
    /// Its secret, which is never shown again.
    #[serde(rename = "token")]
    pub(crate) secret: String,
}

/// A token to make.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in_seconds: Option<u32>,
}

/// Where the API is over TCP.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remote {
    /// Its URL; none if it is not.
    pub(crate) server: Option<String>,
    /// The certificate to trust, in PEM form.
    #[serde(default)]
    pub(crate) certificate_authority: String,
}

#[derive(Deserialize)]
struct List {
    tokens: Vec<Token>,
}

impl Client {
    /// All tokens.
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let list: List = self.json(Ask::get(PATH.into())).await?;
        Ok(list.tokens)
    }

    /// Makes a token.
    pub(crate) async fn create_token(&self, wanted: &Wanted) -> Result<Made, Error> {
        let body = serde_json::to_vec(wanted).expect("texts can always be written");
        self.json(Ask {
            method: Method::POST,
            target: PATH.into(),
            media: "application/json",
            body: body.into(),
        })
        .await
    }

    /// Ends a token.
    pub(crate) async fn revoke_token(&self, name: &str) -> Result<(), Error> {
        let ask = Ask {
            method: Method::DELETE,
            ..Ask::get(format!("{PATH}/{}", escaped(name)))
        };
        self.ask(ask).await.map(drop)
    }

    /// Where the API is over TCP.
    pub(crate) async fn remote(&self) -> Result<Remote, Error> {
        self.json(Ask::get("/operator/v1/access".into())).await
    }
}
