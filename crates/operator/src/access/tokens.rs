//! The tokens: one file each, without the secret, in a folder of root's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cb_core::access::{Role, SECRET_PREFIX, Scope, Token, digest_of};
use cb_core::types::ObjectName;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rand::TryRngCore as _;
use tokio_util::sync::CancellationToken;

use crate::yaml_folder;

/// The tokens there are.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    known: RwLock<BTreeMap<ObjectName, Good>>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A token that was good when it was shown.
#[derive(Debug, Clone)]
pub struct Good {
    /// The token.
    pub token: Arc<Token>,
    revoked: CancellationToken,
}

impl Good {
    fn new(token: Token) -> Self {
        Self {
            token: Arc::new(token),
            revoked: CancellationToken::new(),
        }
    }

    /// Waits until it is good no more.
    pub async fn ended(self) {
        let revoked = self.revoked.cancelled();
        let at = self.token.expires.as_ref();
        let Some(at) = at.and_then(|at| at.parse::<Timestamp>().ok()) else {
            return revoked.await;
        };
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        // Cancelled or late, it is over.
        let _ = tokio::time::timeout(left, revoked).await;
    }
}

/// Why a token was not made or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is one of this name.
    #[error("there is a token `{0}` already; revoke it first, or choose another name")]
    Exists(ObjectName),
    /// There is none of this name.
    #[error("there is no token `{0}`")]
    Unknown(ObjectName),
    /// It could not be kept.
    #[error("{0}")]
    Failed(String),
}

impl Tokens {
    /// The tokens in this folder. A file that cannot be read is set aside, and
    /// its token is good no more.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn load(folder: PathBuf) -> anyhow::Result<Self> {
        let loaded = yaml_folder::load(&folder, |path, token: &Token| {
            let named = path.file_stem().and_then(|stem| stem.to_str());
            (named != Some(token.name.as_str())).then(|| "its name is not the file's".to_owned())
        })?;
        for broken in loaded.broken {
            tracing::error!("a token is broken and was set aside as .broken: {broken}");
        }
        let known = loaded
            .values
            .into_iter()
            .map(|token| (token.name.clone(), Good::new(token)));
        Ok(Self {
            folder,
            known: RwLock::new(known.collect()),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Every token, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Token>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|of| Arc::clone(&of.token)).collect()
    }

    /// The token of a secret, if it is good now.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<Good> {
        // Digests are compared: how long that takes says nothing of a secret.
        let digest = digest_of(secret);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.values().find(|of| of.token.digest == digest)?;
        (!found.token.has_expired(Timestamp::now())).then(|| found.clone())
    }

    /// Makes a token. Returns its secret, which is nowhere else.
    ///
    /// # Errors
    /// [`TokenError`]: there is none then.
    pub async fn create(
        &self,
        name: ObjectName,
        (role, scope): (Role, Scope),
        expires: Option<Timestamp>,
    ) -> Result<(Arc<Token>, String), TokenError> {
        let _turn = self.turn.lock().await;
        let there = self.all();
        if there.iter().any(|token| token.name == name) {
            return Err(TokenError::Exists(name));
        }
        let secret = secret()?;
        let good = Good::new(Token {
            name: name.clone(),
            digest: digest_of(&secret),
            role,
            scope,
            created: crate::now(),
            expires: expires.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        });
        let token = Arc::clone(&good.token);
        let saved = yaml_folder::save(self.file(&name), &*token).await;
        saved.map_err(|error| TokenError::Failed(error.to_string()))?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, good);
        Ok((token, secret))
    }

    /// Ends a token: requests with it are refused from now on, and watches end.
    ///
    /// # Errors
    /// [`TokenError`]: it is as good as before.
    pub async fn revoke(&self, name: &ObjectName) -> Result<(), TokenError> {
        let _turn = self.turn.lock().await;
        if self.all().iter().all(|token| token.name != *name) {
            return Err(TokenError::Unknown(name.clone()));
        }
        let removed = yaml_folder::remove(self.file(name)).await;
        removed.map_err(|error| TokenError::Failed(error.to_string()))?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = known.remove(name) {
            ended.revoked.cancel();
        }
        Ok(())
    }

    fn file(&self, name: &ObjectName) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }
}

/// 256 random bits.
fn secret() -> Result<String, TokenError> {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| TokenError::Failed(format!("there is no randomness: {error}")))?;
    Ok(format!("{SECRET_PREFIX}{}", HEXLOWER.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 11: the secret is nowhere on disk, and law 5: what is revoked stays
    /// so over a restart.
    #[tokio::test]
    async fn a_secret_is_kept_as_its_digest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let tokens = Tokens::load(path.clone()).unwrap();
        let name: ObjectName = "ci".parse().unwrap();
        let grant = (Role::Edit, Scope::default());
        let (token, secret) = tokens
            .create(name.clone(), grant.clone(), None)
            .await
            .unwrap();
        assert_eq!(secret.len(), SECRET_PREFIX.len() + 64);
        let found = |tokens: &Tokens, secret: &str| tokens.find(secret).map(|of| of.token);
        assert_eq!(found(&tokens, &secret), Some(Arc::clone(&token)));
        assert_eq!(found(&tokens, &token.digest), None);
        let text = std::fs::read_to_string(path.join("ci.yaml")).unwrap();
        assert!(!text.contains(&secret[SECRET_PREFIX.len()..]), "{text}");
        let again = tokens.create(name.clone(), grant.clone(), None).await;
        assert!(matches!(again, Err(TokenError::Exists(_))));
        let past = Some(Timestamp::UNIX_EPOCH);
        let old = tokens
            .create("old".parse().unwrap(), grant, past)
            .await
            .unwrap();
        assert_eq!(found(&tokens, &old.1), None);

        let restarted = Tokens::load(path.clone()).unwrap();
        let good = restarted.find(&secret).unwrap();
        assert_eq!(good.token, token);
        restarted.revoke(&name).await.unwrap();
        good.ended().await;
        assert_eq!(found(&restarted, &secret), None);
        assert_eq!(found(&Tokens::load(path).unwrap(), &secret), None);
        let unknown = restarted.revoke(&name).await;
        assert!(matches!(unknown, Err(TokenError::Unknown(_))));
    }
}
