//! How much of the API one peer may use, so that the others get theirs.
//!
//! Requests that come faster than [`RATE`] wait a little, and are refused if
//! that is not enough. Users other than root share the places for connections
//! so that none can take all of them: root gets in at any time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;

use super::changes::Peer;
use super::status::Failure;

/// How many requests a user may make in a second, in the long run.
const RATE: u32 = 500;
/// How many requests a user may make at once after a pause.
const BURST: u32 = 1000;
/// How long a request may be made to wait.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// How many connections a user other than root may have.
const SHARE: usize = 32;

/// The user of a peer; `None` if it is not known.
type User = Option<u32>;

const ROOT: User = Some(0);

/// When the requests of each user are due.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<User, Instant>>);

impl Rates {
    /// How long a request that comes now has to wait; `None` if that is too
    /// long.
    fn wait(&self, user: User, now: Instant) -> Option<Duration> {
        let mut all = lock(&self.0);
        // Whoever has asked for nothing lately begins anew.
        all.retain(|_, due| *due > now);
        let due = all.get(&user).copied().unwrap_or(now) + Duration::from_secs(1) / RATE;
        let ahead = Duration::from_secs(1) * BURST / RATE;
        let wait = due.saturating_duration_since(now).saturating_sub(ahead);
        if wait > MAX_WAIT {
            return None;
        }
        all.insert(user, due);
        Some(wait)
    }
}

/// Makes a request wait for its turn, or refuses it.
pub(super) async fn slow_down(
    State(rates): State<Arc<Rates>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (user, _) = peer.ids();
    match rates.wait(user, Instant::now()) {
        Some(Duration::ZERO) => next.run(request).await,
        Some(wait) => {
            tokio::time::sleep(wait).await;
            next.run(request).await
        }
        None => too_many("you make more requests than one user may; wait, and make fewer").await,
    }
}

/// How many connections each user has.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<HashMap<User, usize>>);

/// A connection of a user; dropped, it no longer counts.
#[derive(Debug)]
pub(super) struct Place {
    shares: Arc<Shares>,
    user: User,
}

impl Shares {
    /// Counts a connection; `None` if the user has its share already.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        let (user, _) = peer.ids();
        self.of(user)
    }

    fn of(self: &Arc<Self>, user: User) -> Option<Place> {
        let mut all = lock(&self.0);
        let count = all.entry(user).or_default();
        if user != ROOT && *count >= SHARE {
            return None;
        }
        *count += 1;
        Some(Place {
            shares: Arc::clone(self),
            user,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.shares.0);
        match all.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(all.remove(&self.user)),
        }
    }
}

/// What every request gets on a connection too many.
pub(super) async fn no_place() -> Response {
    too_many("you have more connections open than one user may; close some").await
}

async fn too_many(message: &str) -> Response {
    let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
    let mut response = failure.into_response();
    let after = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: User = Some(1000);

    #[test]
    fn a_flood_waits_and_then_is_refused_and_others_do_not_notice() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken: Vec<Duration> = (0..5000).map_while(|_| rates.wait(USER, now)).collect();
        let at_once = taken.iter().filter(|wait| wait.is_zero()).count();
        assert_eq!(at_once, BURST as usize);
        assert_eq!(taken.len(), (BURST + RATE * 2) as usize);
        assert!(taken.is_sorted() && *taken.last().unwrap() <= MAX_WAIT);
        assert_eq!(rates.wait(ROOT, now), Some(Duration::ZERO));
        assert_eq!(rates.wait(None, now), Some(Duration::ZERO));
        // Once what was taken is worked off, it begins anew.
        let later = now + Duration::from_secs(10);
        assert_eq!(rates.wait(USER, later), Some(Duration::ZERO));
        assert_eq!(lock(&rates.0).len(), 1);
    }

    #[test]
    fn no_user_but_root_takes_every_place() {
        let shares = Arc::new(Shares::default());
        let mut taken: Vec<_> = (0..100).map_while(|_| shares.of(USER)).collect();
        assert_eq!(taken.len(), SHARE);
        assert!(shares.of(Some(1001)).is_some());
        let roots: Vec<_> = (0..100).filter_map(|_| shares.of(ROOT)).collect();
        assert_eq!(roots.len(), 100);
        taken.pop();
        assert!(shares.of(USER).is_some());
        drop((taken, roots));
        assert!(lock(&shares.0).is_empty());
    }

    #[tokio::test]
    async fn who_is_refused_is_told_when_to_come_back() {
        let response = no_place().await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }
}
