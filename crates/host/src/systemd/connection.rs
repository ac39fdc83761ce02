//! The task that reads the bus.
//!
//! Data flow: one unfiltered stream of all messages in the order of the bus,
//! so that listings (asked for by this task, recognised by their serial number)
//! and signals are taken in in the order in which systemd sent them. The task
//! awaits nothing but the stream, commands, and the writing of short messages.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, Variant};

use super::cache::{Cache, Row, service_of};
use super::jobs::Jobs;
use super::{CALL_TIMEOUT, DESTINATION, MANAGER, PATH, UnitEvent};

/// Signals queue here while this task is busy; the bus waits beyond that.
const QUEUE: usize = 4096;
/// Slow subscribers miss events and must look at everything.
const EVENTS: usize = 8192;
/// dbus-daemon allows a connection 128 calls without an answer; some are left
/// for this task's own.
const MAX_PENDING: usize = 96;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

const RULES: [&str; 3] = [
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
     member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.systemd1.Manager',path='/org/freedesktop/systemd1'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',\
     path_namespace='/org/freedesktop/systemd1/unit'",
];

pub(super) enum Command {
    /// List all units, and say when that is done. Dropped if it cannot be.
    Relist(oneshot::Sender<()>),
}

/// What the handles and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    connection: Mutex<Option<Connection>>,
    cache: Mutex<Cache>,
    pub(super) jobs: Jobs,
    /// Calls that may be sent now.
    pub(super) pending: Semaphore,
    pub(super) listed: watch::Sender<bool>,
    pub(super) events: broadcast::Sender<UnitEvent>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            connection: Mutex::default(),
            cache: Mutex::default(),
            jobs: Jobs::default(),
            pending: Semaphore::new(MAX_PENDING),
            listed: watch::Sender::new(false),
            events: broadcast::Sender::new(EVENTS),
        }
    }
}

impl Shared {
    pub(super) fn connection(&self) -> Option<Connection> {
        let connection = self.connection.lock();
        connection.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_connection(&self, connection: Option<Connection>) {
        let mut place = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = connection;
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: UnitEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

/// Keeps a connection until the last handle is gone.
pub(super) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut wait = BACKOFF.0;
    loop {
        let ended = match connect().await {
            Ok((connection, stream)) => {
                shared.set_connection(Some(connection.clone()));
                let mut reader = Reader::new(Arc::clone(&shared), connection);
                let ended = reader.read(stream, &mut commands).await;
                shared.set_connection(None);
                if shared.listed.send_replace(false) {
                    wait = BACKOFF.0;
                }
                shared.jobs.disconnect();
                ended
            }
            Err(error) => Ended::Broken(error.to_string()),
        };
        match ended {
            Ended::Unused => return,
            Ended::Broken(reason) => {
                tracing::warn!(reason, "no D-Bus connection to systemd; connecting again");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
        // Nobody waits for a listing of a connection that is not there.
        while commands.try_recv().is_ok() {}
        if commands.is_closed() {
            return;
        }
    }
}

enum Ended {
    /// The last handle was dropped.
    Unused,
    Broken(String),
}

/// A connection that gets the signals, and everything it gets.
async fn connect() -> zbus::Result<(Connection, MessageStream)> {
    let work = async {
        let queue = std::num::NonZeroUsize::new(QUEUE).expect("not zero");
        let builder = zbus::connection::Builder::system().max_queued(queue);
        let connection = builder.build().await?;
        let stream = MessageStream::from(&connection);
        let bus = "org.freedesktop.DBus";
        for rule in RULES {
            let (path, body) = ("/org/freedesktop/DBus", (rule,));
            let call = connection.call_method(Some(bus), path, Some(bus), "AddMatch", &body);
            call.await?;
        }
        // Without a subscriber systemd sends no signals.
        let call = connection.call_method(Some(DESTINATION), PATH, Some(MANAGER), "Subscribe", &());
        call.await?;
        Ok((connection, stream))
    };
    match tokio::time::timeout(CALL_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(zbus::Error::Failure("no answer".to_owned())),
    }
}

/// What an answer that is under way is for.
#[derive(Default)]
struct Listing {
    /// Whether it lists all units.
    all: bool,
    /// Units that appeared: the signal does not say in which state.
    names: BTreeSet<String>,
    /// Who asked.
    waiting: Vec<oneshot::Sender<()>>,
    /// Jobs of these units that ended: path and result. Their ends are told
    /// when the states are known.
    jobs: Vec<(String, String)>,
}

/// Above this many names, listing all units is cheaper for systemd than
/// matching each unit with each name.
const MAX_NAMES: usize = 32;

struct Reader {
    shared: Arc<Shared>,
    connection: Connection,
    /// The listing that is under way and its call's serial number; one at a
    /// time, so that a slow systemd gets few and large ones.
    current: Option<(NonZeroU32, Listing)>,
    /// What the next one is for.
    next: Listing,
}

impl Reader {
    fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        Self {
            shared,
            connection,
            current: None,
            next: Listing::default(),
        }
    }

    async fn read(
        &mut self,
        mut stream: MessageStream,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Ended {
        self.next.all = true;
        loop {
            let result = tokio::select! {
                biased;
                message = stream.next() => match message {
                    Some(Ok(message)) => self.take_in(&message),
                    Some(Err(error)) => Err(error),
                    None => return Ended::Broken("the connection was closed".to_owned()),
                },
                command = commands.recv() => match command {
                    Some(Command::Relist(done)) => {
                        self.next.all = true;
                        self.next.waiting.push(done);
                        Ok(())
                    }
                    None => return Ended::Unused,
                },
                // Only when the stream has nothing more: many that appeared
                // together are asked for together.
                () = std::future::ready(()), if self.wants_listing() => self.list().await,
            };
            if let Err(error) = result {
                return Ended::Broken(error.to_string());
            }
        }
    }

    fn take_in(&mut self, message: &Message) -> zbus::Result<()> {
        match message.message_type() {
            Type::MethodReturn => {
                if self.is_of_listing(message)
                    && let Some((_, listing)) = self.current.take()
                {
                    self.listed(listing, message.body().deserialize()?);
                }
                Ok(())
            }
            Type::Error if self.is_of_listing(message) => Err(message.clone().into()),
            Type::Signal => self.signal(message),
            Type::Error | Type::MethodCall => Ok(()),
        }
    }

    fn is_of_listing(&self, message: &Message) -> bool {
        let current = self.current.as_ref().map(|(serial, _)| *serial);
        current.is_some() && message.header().reply_serial() == current
    }

    fn wants_listing(&self) -> bool {
        self.current.is_none() && (self.next.all || !self.next.names.is_empty())
    }

    /// Asks for the next listing; the answer comes with the stream.
    async fn list(&mut self) -> zbus::Result<()> {
        let mut listing = std::mem::take(&mut self.next);
        listing.all |= listing.names.len() > MAX_NAMES;
        let method = if listing.all {
            "ListUnits"
        } else {
            "ListUnitsByPatterns"
        };
        let call = Message::method_call(PATH, method)
            .destination(DESTINATION)
            .interface(MANAGER);
        let message = if listing.all {
            call.build(&())?
        } else {
            let states: [&str; 0] = [];
            let names: Vec<&str> = listing.names.iter().map(String::as_str).collect();
            call.build(&(states.as_slice(), names))?
        };
        let serial = message.primary_header().serial_num();
        self.current = Some((serial, listing));
        self.connection.send(&message).await
    }

    fn listed(&mut self, listing: Listing, rows: Vec<Row>) {
        let mut changed: Vec<String> = listing.names.into_iter().collect();
        if listing.all {
            changed.extend(self.shared.cache().replace(rows));
        } else {
            self.shared.cache().merge(rows);
        }
        if listing.all && !self.shared.listed.send_replace(true) {
            self.shared.tell(UnitEvent::Relisted);
        } else {
            for name in changed {
                self.shared.tell(UnitEvent::Changed(name));
            }
        }
        for done in listing.waiting {
            // One that gave up wants no answer.
            let _ = done.send(());
        }
        for (path, result) in listing.jobs {
            self.shared.jobs.finish(&path, &result);
        }
    }

    /// The end of a job. If its unit's state is not known yet, the end is told
    /// together with it.
    fn job_removed(&mut self, unit: &str, path: &str, result: &str) {
        let current = self.current.as_mut().map(|(_, listing)| listing);
        let mut listings = std::iter::once(&mut self.next).chain(current);
        match listings.find(|listing| listing.names.contains(unit)) {
            Some(listing) => listing.jobs.push((path.to_owned(), result.to_owned())),
            None => self.shared.jobs.finish(path, result),
        }
    }

    fn signal(&mut self, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let body = message.body();
        let member = header.member().map_or("", |member| member.as_str());
        match member {
            "PropertiesChanged" => {
                let path = header.path().map_or("", |path| path.as_str());
                if let Some(name) = service_of(path) {
                    let (_, changed, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
                        body.deserialize()?;
                    let is_new = self.shared.cache().change(&name, &changed);
                    if is_new {
                        self.shared.tell(UnitEvent::Changed(name));
                    }
                }
            }
            "JobNew" => {
                let (_, _, unit): (u32, zbus::ObjectPath<'_>, &str) = body.deserialize()?;
                self.shared.cache().job_asked(unit);
            }
            "JobRemoved" => {
                let (_, path, unit, result): (u32, zbus::ObjectPath<'_>, &str, &str) =
                    body.deserialize()?;
                self.job_removed(unit, path.as_str(), result);
            }
            "UnitNew" => {
                let (name, _): (&str, zbus::ObjectPath<'_>) = body.deserialize()?;
                if name.ends_with(".service") {
                    self.next.names.insert(name.to_owned());
                }
            }
            "UnitRemoved" => {
                let (name, _): (&str, zbus::ObjectPath<'_>) = body.deserialize()?;
                let was_there = self.shared.cache().remove(name);
                if was_there {
                    self.shared.tell(UnitEvent::Changed(name.to_owned()));
                }
            }
            // systemd executed itself again and may have lost the subscription.
            "NameOwnerChanged" => {
                let error = "systemd connected to the bus anew".to_owned();
                return Err(zbus::Error::Failure(error));
            }
            "Reloading" => {
                let begins: bool = body.deserialize()?;
                if begins {
                    self.shared.cache().begin_reload();
                } else {
                    self.next.all = true;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
