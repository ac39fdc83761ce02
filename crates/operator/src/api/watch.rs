//! `GET …?watch=true`: every change of the objects as it happens, one JSON
//! document a line.
//!
//! A watch goes on from the revision of a list and misses nothing; one that
//! comes too late is told so (410) and lists again. Objects come into a
//! selection and leave it as their labels change: the client sees ADDED and
//! DELETED then, as with Kubernetes, the latter with the object as it was while
//! it was selected.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use cb_runtime::store::{Change, ChangeKind, Store, Versioned, Watch, WatchError};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::selector::Selector;
use super::status::Failure;
use super::table::{Form, Sheet};

/// How an object of a store is shown, at a revision.
pub(super) type Render<V> = fn(&V, u64) -> Value;

/// What a client asks for.
pub(super) struct Request {
    /// The revision to go on from; `None` for everything that is there first.
    pub(super) from: Option<u64>,
    /// Which objects.
    pub(super) selector: Selector,
    /// How they are given.
    pub(super) form: (Form, Sheet),
    /// Whether the client is told now and then how far it is.
    pub(super) bookmarks: bool,
    /// Whether it is told when it has everything that was there at first.
    pub(super) initial: bool,
    /// When the watch ends.
    pub(super) until: Instant,
    /// Ends it earlier.
    pub(super) stop: CancellationToken,
    /// Its place among the watches.
    pub(super) permit: OwnedSemaphorePermit,
}

/// How often a client that wants to know is told how far it is.
const BOOKMARK_TIME: Duration = Duration::from_secs(60);

/// How many bytes of events that are there already are sent together. A client of
/// kube-rs may begin to work on a list that is streamed when it has a part of it,
/// and misses then what it does not find yet.
const TOGETHER: usize = 256 * 1024;

/// The body of the answer: it ends at the time or when the server stops.
pub(super) fn body<K, V>(store: &Store<K, V>, render: Render<V>, request: Request) -> Body
where
    K: Ord + Clone + Send + Sync + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    // As Kubernetes has it, that is the one event of a watch that has begun: kube-rs
    // does not list again for an answer with the code 410.
    let mut feed = match Feed::new(store, render, request.selector, request.from) {
        Ok(feed) => feed,
        Err(late) => {
            return Body::from(line(&json!({"type": "ERROR", "object": late.status()})));
        }
    };
    let (until, stop, permit) = (request.until, request.stop, request.permit);
    let (form, sheet) = request.form;
    let given = move |event: Value| line(&formed(event, form, sheet));
    let mut first = feed.start();
    if request.initial {
        first.push_back(bookmark(sheet, feed.watch.position(), true));
    }
    let mut timer = tokio::time::interval_at(Instant::now() + BOOKMARK_TIME, BOOKMARK_TIME);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let bookmarks = request.bookmarks;
    let state = (first, Some(feed), timer, permit);
    let lines = stream::unfold(state, move |(mut ready, mut feed, mut timer, permit)| {
        let stop = stop.clone();
        async move {
            loop {
                if !ready.is_empty() {
                    let mut lines = Vec::new();
                    while lines.len() < TOGETHER
                        && let Some(event) = ready.pop_front()
                    {
                        lines.extend_from_slice(&given(event));
                    }
                    let lines = Ok::<_, Infallible>(Bytes::from(lines));
                    return Some((lines, (ready, feed, timer, permit)));
                }
                let source = feed.as_mut()?;
                let next = tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    next = source.watch.next() => next,
                    _ = timer.tick(), if bookmarks => {
                        ready.push_back(bookmark(sheet, source.watch.position(), false));
                        continue;
                    }
                    () = tokio::time::sleep_until(until) => {
                        // From here the client can go on.
                        let position = source.watch.position();
                        ready.extend(bookmarks.then(|| bookmark(sheet, position, false)));
                        feed = None;
                        continue;
                    }
                };
                match next {
                    Ok(change) => ready.extend(source.event(&change)),
                    Err(error) => {
                        ready.push_back(json!({"type": "ERROR", "object": gone(error).status()}));
                        feed = None;
                    }
                }
            }
        }
    });
    Body::from_stream(lines)
}

/// An event with its object in the form that was asked for.
fn formed(mut event: Value, form: Form, sheet: Sheet) -> Value {
    if event["type"] != "ERROR" {
        let object = event["object"].take();
        event["object"] = form.one(sheet, object);
    }
    event
}

/// Says how far the client is, with nothing but that.
fn bookmark(sheet: Sheet, revision: u64, initial: bool) -> Value {
    let (version, kind) = sheet.identity();
    let mut object = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"resourceVersion": revision.to_string()},
    });
    if initial {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"type": "BOOKMARK", "object": object})
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

/// 410: the client has to list again.
fn gone(error: WatchError) -> Failure {
    Failure::new(StatusCode::GONE, "Expired", error.to_string())
}

/// Turns the changes of a store into the events of a selection.
struct Feed<K, V> {
    watch: Watch<K, V>,
    render: Render<V>,
    selector: Selector,
    /// What is there at first, if the client wants it.
    first: Vec<Versioned<V>>,
}

impl<K: Ord + Clone, V: PartialEq> Feed<K, V> {
    fn new(
        store: &Store<K, V>,
        render: Render<V>,
        selector: Selector,
        from: Option<u64>,
    ) -> Result<Self, Failure> {
        let (first, from) = match from {
            Some(from) => (Vec::new(), from),
            None => {
                let list = store.list();
                (list.items.into_values().collect(), list.revision)
            }
        };
        Ok(Self {
            watch: store.watch_from(from).map_err(gone)?,
            render,
            selector,
            first,
        })
    }

    /// The first events.
    fn start(&mut self) -> VecDeque<Value> {
        let first = std::mem::take(&mut self.first).into_iter();
        let objects = first.filter_map(|item| self.selected(&item.value, item.revision));
        objects
            .map(|object| json!({"type": "ADDED", "object": object}))
            .collect()
    }

    fn event(&self, change: &Change<K, V>) -> Option<Value> {
        let selected = |value: &Arc<V>| self.selected(value, change.revision);
        let now = match change.kind {
            ChangeKind::Deleted => None,
            ChangeKind::Added | ChangeKind::Modified => selected(&change.value),
        };
        let (kind, object) = match now {
            Some(now) => {
                // Most watches are of everything, and what it was need not be
                // shown for that.
                let had = |before| self.selector.is_all() || selected(before).is_some();
                let had = change.before.as_ref().is_some_and(had);
                (if had { "MODIFIED" } else { "ADDED" }, now)
            }
            None => ("DELETED", change.before.as_ref().and_then(selected)?),
        };
        Some(json!({"type": kind, "object": object}))
    }

    fn selected(&self, value: &V, revision: u64) -> Option<Value> {
        let object = (self.render)(value, revision);
        self.selector.matches(&object).then_some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(label: &String, revision: u64) -> Value {
        let version = revision.to_string();
        json!({"metadata": {"name": "x", "labels": {"l": label}, "resourceVersion": version}})
    }

    fn events(feed: &mut Feed<&'static str, String>) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(change) = feed.watch.try_next().unwrap() {
            events.extend(feed.event(&change).map(|event| {
                let metadata = &event["object"]["metadata"];
                let (version, label) = (&metadata["resourceVersion"], &metadata["labels"]["l"]);
                format!("{} {version} {label}", event["type"]).replace('"', "")
            }));
        }
        events
    }

    #[test]
    fn objects_enter_and_leave_a_selection() {
        let store = Store::new(100);
        store.set("in", "y".to_owned());
        store.set("out", "n".to_owned());
        let selector = Selector::parse(Some("l=y"), None).unwrap();
        let mut feed = Feed::new(&store, render, selector, Some(2)).unwrap();
        assert!(feed.start().is_empty());
        store.set("in", "n".to_owned());
        store.set("out", "y".to_owned());
        store.set("in", "other".to_owned());
        store.set("new", "n".to_owned());
        store.remove(&"out");
        store.remove(&"in");
        assert_eq!(
            events(&mut feed),
            ["DELETED 3 y", "ADDED 4 y", "DELETED 7 y"]
        );
    }

    #[test]
    fn changes_between_the_list_and_the_watch_are_not_missed() {
        let store = Store::new(100);
        store.set("a", "y".to_owned());
        store.set("b", "y".to_owned());
        store.set("a", "n".to_owned());
        store.remove(&"b");
        // What the client never had is not told of.
        store.set("other", "n".to_owned());
        store.set("other", "x".to_owned());
        let selector = Selector::parse(Some("l=y"), None).unwrap();
        let mut feed = Feed::new(&store, render, selector, Some(2)).unwrap();
        assert!(feed.start().is_empty());
        assert_eq!(events(&mut feed), ["DELETED 3 y", "DELETED 4 y"]);
    }

    #[test]
    fn without_a_revision_it_begins_with_what_is_there() {
        let store = Store::new(100);
        store.set("a", "y".to_owned());
        let mut feed = Feed::new(&store, render, Selector::default(), None).unwrap();
        assert_eq!(feed.start().len(), 1);
        store.set("a", "n".to_owned());
        assert_eq!(events(&mut feed), ["MODIFIED 2 n"]);
    }

    #[test]
    fn a_revision_that_is_no_longer_kept_is_gone() {
        let store = Store::starting_at(10, 1);
        store.set("a", "y".to_owned());
        for from in [3, 99] {
            let failure = Feed::new(&store, render, Selector::default(), Some(from))
                .err()
                .unwrap();
            assert_eq!(failure.status()["code"], 410);
        }
    }
}
