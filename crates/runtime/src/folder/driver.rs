//! Decides when to read, and tells when a reading differs from the last.

use super::reader::{Id, Reader, Reading};
use super::signals::Signals;
use super::watches::Watches;
use super::{FolderConfig, Scan, ScanProblem};
use crate::coalesce::panic_message;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

/// A folder that keeps changing is reported as incomplete only if it did so in
/// this many readings in a row: a large checkout is not worth an alarm.
const PATIENCE: u32 = 5;

/// Starts watchers.
#[derive(Debug)]
pub struct FolderWatcher;

/// The watcher was stopped before it could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watcher of the folder was stopped")]
pub struct WatcherStopped;

/// What a watcher has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderStats {
    /// Events that called for a reading.
    pub events: u64,
    /// Readings of the folder.
    pub scans: u64,
    /// Readings that differed from the one before.
    pub emitted: u64,
    /// Files whose content was read.
    pub files_read: u64,
}

/// Talks to a watcher; clones talk to the same one.
#[derive(Clone, Debug)]
pub struct FolderHandle {
    requests: mpsc::UnboundedSender<oneshot::Sender<Arc<Scan>>>,
    stop: CancellationToken,
    report: Arc<Mutex<Report>>,
}

#[derive(Debug, Default)]
struct Report {
    stats: FolderStats,
    trouble: Option<String>,
}

impl FolderWatcher {
    /// Starts to watch. The receiver always has the last reading; before the
    /// first it is a placeholder that is not complete. It ends with
    /// [`FolderHandle::stop`], or when the last receiver is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(mut config: FolderConfig) -> (FolderHandle, watch::Receiver<Arc<Scan>>) {
        // Events carry absolute paths; without a current folder nothing helps,
        // and the readings will say so.
        if let Ok(absolute) = std::path::absolute(&config.root) {
            config.root = absolute;
        }
        let first = Arc::new(Scan {
            sequence: 0,
            files: BTreeMap::new(),
            complete: false,
            problem: Some(ScanProblem::NotReadYet {
                path: config.root.clone(),
            }),
        });
        let (sender, receiver) = watch::channel(Arc::clone(&first));
        let (requests, requested) = mpsc::unbounded_channel();
        let handle = FolderHandle {
            requests,
            stop: CancellationToken::new(),
            report: Arc::default(),
        };
        let driver = Driver {
            signals: Arc::new(Signals::new(
                config.root.clone(),
                Arc::clone(&config.filter),
            )),
            config,
            worker: None,
            requested,
            waiters: Vec::new(),
            sender,
            current: first,
            folders: BTreeMap::new(),
            pending: None,
            next_scan: Instant::now(),
            changing: 0,
            stop: handle.stop.clone(),
            report: Arc::clone(&handle.report),
        };
        tokio::spawn(driver.run());
        (handle, receiver)
    }
}

impl FolderHandle {
    /// Reads the folder now, and gives a reading that began after this call.
    ///
    /// # Errors
    /// If the watcher was stopped.
    pub async fn rescan(&self) -> Result<Arc<Scan>, WatcherStopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).map_err(|_| WatcherStopped)?;
        answer.await.map_err(|_| WatcherStopped)
    }

    /// Waits until the watcher has ended.
    pub async fn ended(&self) {
        self.requests.closed().await;
    }

    /// Ends the watcher.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The counters as they are now.
    pub fn stats(&self) -> FolderStats {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stats
    }

    /// Why changes are noticed by polling only, if so: the system's limit of
    /// watches, for example.
    pub fn trouble(&self) -> Option<String> {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .trouble
            .clone()
    }
}

struct Driver {
    config: FolderConfig,
    signals: Arc<Signals>,
    /// Away while it works on its own thread; lost if it panicked.
    worker: Option<Worker>,
    requested: mpsc::UnboundedReceiver<oneshot::Sender<Arc<Scan>>>,
    waiters: Vec<oneshot::Sender<Arc<Scan>>>,
    sender: watch::Sender<Arc<Scan>>,
    current: Arc<Scan>,
    folders: BTreeMap<PathBuf, Id>,
    /// When the first and the last event since the last reading came.
    pending: Option<(Instant, Instant)>,
    /// When to read again even if nothing happens.
    next_scan: Instant,
    /// Readings in a row in which the folder kept changing.
    changing: u32,
    stop: CancellationToken,
    report: Arc<Mutex<Report>>,
}

/// What blocks: the reader, and the watches that it sets.
struct Worker {
    reader: Reader,
    watches: Watches,
}

impl Driver {
    async fn run(mut self) {
        let mut poll = interval_at(Instant::now() + self.config.poll, self.config.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (stop, signals) = (self.stop.clone(), Arc::clone(&self.signals));
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.sender.closed() => return,
                Some(reply) = self.requested.recv() => {
                    self.waiters.push(reply);
                    self.scan().await;
                }
                () = signals.wake.notified() => self.noticed(),
                () = sleep_until(due) => self.scan().await,
                _ = poll.tick() => self.poll().await,
            }
        }
    }

    fn due(&self) -> Instant {
        self.pending.map_or(self.next_scan, |(first, last)| {
            (last + self.config.quiet)
                .min(first + self.config.max_delay)
                .min(self.next_scan)
        })
    }

    fn noticed(&mut self) {
        // A wake-up may be left over from before the last reading.
        if self.signals.is_raised() {
            let now = Instant::now();
            self.pending = Some((self.pending.map_or(now, |(first, _)| first), now));
        }
    }

    /// The safety net below the events.
    async fn poll(&mut self) {
        let folders = std::mem::take(&mut self.folders);
        let checked = self
            .blocking(move |worker| {
                let doubt = worker.watches.trouble().is_some() || worker.reader.moved(&folders);
                (doubt, folders)
            })
            .await;
        let doubt = match checked {
            Ok((doubt, folders)) => {
                self.folders = folders;
                doubt
            }
            Err(_) => true,
        };
        if doubt {
            self.signals.raise_doubt();
            self.noticed();
        } else if self.current.problem.is_some() {
            // What was wrong may have been put right without an event.
            self.next_scan = Instant::now();
        }
    }

    async fn scan(&mut self) {
        while let Ok(reply) = self.requested.try_recv() {
            self.waiters.push(reply);
        }
        self.pending = None;
        let anew = self.signals.lower();
        let reading = self.blocking(move |worker| worker.read(anew)).await;
        let (mut reading, files_read, trouble) = reading.unwrap_or_else(|message| {
            let path = self.config.root.clone();
            let problem = Some(ScanProblem::Internal { path, message });
            (
                Reading {
                    problem,
                    ..Reading::default()
                },
                None,
                None,
            )
        });
        {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.stats.scans += 1;
            report.stats.events = self.signals.events();
            report.stats.files_read = files_read.unwrap_or(report.stats.files_read);
            report.trouble = trouble;
        }
        self.folders = std::mem::take(&mut reading.folders);
        let again = match reading.unsteady {
            true => self.config.max_delay,
            false => self.config.rescan_every,
        };
        self.next_scan = Instant::now() + again;
        if matches!(reading.problem, Some(ScanProblem::Changing { .. })) {
            self.changing += 1;
            if self.changing < PATIENCE {
                return;
            }
        } else {
            self.changing = 0;
        }
        self.emit(reading);
    }

    fn emit(&mut self, reading: Reading) {
        let same = self.current.sequence > 0
            && self.current.problem == reading.problem
            && self.current.files == reading.files;
        if !same {
            self.current = Arc::new(Scan {
                sequence: self.current.sequence + 1,
                files: reading.files,
                complete: reading.problem.is_none(),
                problem: reading.problem,
            });
            self.report
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .stats
                .emitted += 1;
            self.sender.send_replace(Arc::clone(&self.current));
        }
        for waiter in self.waiters.drain(..) {
            // Whoever asked may have gone.
            let _ = waiter.send(Arc::clone(&self.current));
        }
    }

    /// Runs `work` where blocking is allowed; an error is what a panic said.
    async fn blocking<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Worker) -> R + Send + 'static,
    ) -> Result<R, String> {
        let mut worker = self.worker.take().unwrap_or_else(|| self.new_worker());
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut worker);
            (worker, result)
        });
        match done.await {
            Ok((worker, result)) => {
                self.worker = Some(worker);
                Ok(result)
            }
            Err(error) => {
                let message = match error.try_into_panic() {
                    Ok(panic) => panic_message(panic.as_ref()),
                    Err(_) => "the program is shutting down".to_owned(),
                };
                tracing::error!(message, "reading a folder failed unexpectedly");
                Err(message)
            }
        }
    }

    fn new_worker(&self) -> Worker {
        let FolderConfig {
            root,
            filter,
            max_file_size,
            ..
        } = &self.config;
        Worker {
            reader: Reader::new(root.clone(), Arc::clone(filter), *max_file_size),
            watches: Watches::new(root.clone(), Arc::clone(&self.signals)),
        }
    }
}

impl Worker {
    fn read(&mut self, anew: bool) -> (Reading, Option<u64>, Option<String>) {
        self.watches.begin(anew);
        let reading = self.reader.read(&mut |path, id| self.watches.see(path, id));
        self.watches.keep(&reading.folders);
        (
            reading,
            Some(self.reader.reads),
            self.watches.trouble().map(str::to_owned),
        )
    }
}
