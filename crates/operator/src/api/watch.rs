//! `GET …?watch=true`: every change of the objects as it happens, one JSON
//! document a line.
//!
//! A watch goes on from the revision of a list and misses nothing; one that
//! comes too late is told so (410) and lists again. Objects come into a
//! selection and leave it as their labels change: the client sees ADDED and
//! DELETED then, as with Kubernetes.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use cb_runtime::store::{Change, ChangeKind, Store, Watch, WatchError};
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
                if let Some(event) = ready.pop_front() {
                    let line = Ok::<_, Infallible>(given(event));
                    return Some((line, (ready, feed, timer, permit)));
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
    store: Store<K, V>,
    render: Render<V>,
    selector: Selector,
    /// Whether to begin with everything that is there.
    whole: bool,
    /// Whether the client has each object, where that is known.
    has: BTreeMap<K, bool>,
}

impl<K: Ord + Clone, V: PartialEq> Feed<K, V> {
    fn new(
        store: &Store<K, V>,
        render: Render<V>,
        selector: Selector,
        from: Option<u64>,
    ) -> Result<Self, Failure> {
        let watch = store
            .watch_from(from.unwrap_or_else(|| store.revision()))
            .map_err(gone)?;
        let (store, whole) = (store.clone(), from.is_none());
        Ok(Self {
            watch,
            store,
            render,
            selector,
            whole,
            has: BTreeMap::new(),
        })
    }

    /// The first events, and what the client has at the start.
    fn start(&mut self) -> VecDeque<Value> {
        let position = self.watch.position();
        let mut events = VecDeque::new();
        // Listed after the watch began: what changed since then is left to it.
        for (key, item) in self.store.list().items {
            if item.revision > position {
                continue;
            }
            let object = (self.render)(&item.value, item.revision);
            let selected = self.selector.matches(&object);
            self.has.insert(key, selected);
            if self.whole && selected {
                events.push_back(json!({"type": "ADDED", "object": object}));
            }
        }
        events
    }

    fn event(&mut self, change: &Arc<Change<K, V>>) -> Option<Value> {
        let object = (self.render)(&change.value, change.revision);
        let selected = change.kind != ChangeKind::Deleted && self.selector.matches(&object);
        let had = match change.kind {
            ChangeKind::Added => Some(false),
            _ => self
                .has
                .get(&change.key)
                .copied()
                .or(self.whole.then_some(false)),
        };
        match change.kind {
            ChangeKind::Deleted => self.has.remove(&change.key),
            _ => self.has.insert(change.key.clone(), selected),
        };
        let kind = match (had, selected) {
            (Some(false), true) => "ADDED",
            (_, true) => "MODIFIED",
            (Some(false), false) => return None,
            // Where it is not known, one word too many does no harm.
            (_, false) => "DELETED",
        };
        Some(json!({"type": kind, "object": object}))
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
                let version = &event["object"]["metadata"]["resourceVersion"];
                format!("{} {}", event["type"], version).replace('"', "")
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
        assert_eq!(events(&mut feed), ["DELETED 3", "ADDED 4", "DELETED 7"]);
    }

    #[test]
    fn changes_between_the_list_and_the_watch_are_not_missed() {
        let store = Store::new(100);
        store.set("a", "y".to_owned());
        store.set("b", "y".to_owned());
        store.set("a", "n".to_owned());
        store.remove(&"b");
        let selector = Selector::parse(Some("l=y"), None).unwrap();
        let mut feed = Feed::new(&store, render, selector, Some(2)).unwrap();
        assert!(feed.start().is_empty());
        assert_eq!(events(&mut feed), ["DELETED 3", "DELETED 4"]);
    }

    #[test]
    fn without_a_revision_it_begins_with_what_is_there() {
        let store = Store::new(100);
        store.set("a", "y".to_owned());
        let mut feed = Feed::new(&store, render, Selector::default(), None).unwrap();
        assert_eq!(feed.start().len(), 1);
        store.set("a", "n".to_owned());
        assert_eq!(events(&mut feed), ["MODIFIED 2"]);
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
