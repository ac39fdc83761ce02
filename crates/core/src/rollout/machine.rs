//! From one step to the next: what came of tenants, the next wave, the end, and
//! what a person says.

use jiff::{SignedDuration, Timestamp};

use super::{Member, Phase, Progress, Rollout, Spec, State, Way};
use crate::types::{BackupId, TenantName, Version};

/// What came of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It is ready at the version.
    Done {
        /// The backup that was made on the way.
        backup: Option<BackupId>,
    },
    /// It is not.
    Failed {
        /// Why: a CamelCase word.
        reason: String,
        /// The same in words.
        message: String,
        /// The backup that was made, if it has the version all the same.
        reached: Option<Option<BackupId>>,
    },
    /// It is left out.
    Skipped {
        /// Why: a CamelCase word.
        reason: String,
        /// The same in words.
        message: String,
    },
}

/// Why a rollout does not do what a person says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not run.
    #[error("{id} is {state} and asks no tenant: there is nothing to pause")]
    NotRunning {
        /// The rollout.
        id: String,
        /// Its state.
        state: &'static str,
    },
    /// It has nothing to go on with.
    #[error("{id} is {state}: {remedy}")]
    CannotResume {
        /// The rollout.
        id: String,
        /// Its state.
        state: &'static str,
        /// What would be right.
        remedy: &'static str,
    },
    /// It was undone, or is being undone.
    #[error("{id} is being undone, or was: see `cbctl rollout status {id}`")]
    UndoneAlready {
        /// The rollout.
        id: String,
    },
    /// There is nothing to undo.
    #[error("{id} has upgraded no tenant: there is nothing to undo")]
    NothingToUndo {
        /// The rollout.
        id: String,
    },
}

impl Rollout {
    /// A rollout that begins with its first wave.
    #[must_use]
    pub fn new(id: String, spec: Spec, tenants: Vec<TenantName>, now: Timestamp) -> Self {
        let member = |tenant| Member {
            tenant,
            from: None,
            wave: None,
            upgraded: false,
            backup: None,
            there: Progress::default(),
            back: None,
        };
        Self {
            id,
            spec,
            state: State::Running,
            undo: false,
            message: None,
            wave: 0,
            next_wave: None,
            forgiven: 0,
            started: now,
            ended: None,
            tenants: tenants.into_iter().map(member).collect(),
        }
    }

    /// The way that it is on.
    #[must_use]
    pub fn way(&self) -> Way {
        if self.undo { Way::Back } else { Way::There }
    }

    /// Whether it asks tenants to go this way.
    #[must_use]
    pub fn asks(&self, way: Way) -> bool {
        self.state == State::Running && self.way() == way
    }

    /// The tenants that are to be asked now. Before one is brought back, those
    /// that were asked for the version have come to rest.
    pub fn to_ask(&self) -> impl Iterator<Item = &Member> {
        let way = self.way();
        let turn = way == Way::There || !self.flies(Way::There);
        let due = move |member: &&Member| match way {
            Way::There => member.wave.is_some(),
            Way::Back => member.upgraded,
        };
        let asks = turn && self.state == State::Running;
        let members = self.tenants.iter().filter(move |_| asks);
        members
            .filter(due)
            .filter(move |member| member.phase(way) == Phase::Pending)
    }

    /// The tenants that are waited for, and the way that each is on. Those that
    /// were asked are waited for also while it is paused or undone.
    pub fn in_flight(&self) -> impl Iterator<Item = (Way, &Member)> {
        let ways = self.tenants.iter().flat_map(|member| {
            let ways = [Way::There, Way::Back].into_iter();
            ways.map(move |way| (way, member))
        });
        ways.filter(|(way, member)| member.phase(*way).is_in_flight())
    }

    fn flies(&self, way: Way) -> bool {
        self.in_flight().any(|(flown, _)| flown == way)
    }

    /// A tenant is about to be asked. It has this version, and `since` is the
    /// number of its last operation.
    pub fn asking(&mut self, way: Way, tenant: &TenantName, from: Option<Version>, since: u64) {
        let Some(member) = self.member(tenant) else {
            return;
        };
        if way == Way::There {
            member.from = from;
        }
        let progress = progress(member, way);
        *progress = Progress {
            phase: Phase::Asking,
            since,
            retried: progress.retried,
            ..Progress::default()
        };
    }

    /// A tenant was asked.
    pub fn asked(&mut self, way: Way, tenant: &TenantName) {
        self.turn(way, tenant, Phase::Asked);
    }

    /// A tenant was not asked after all, because it is asked no more.
    pub fn withdraw(&mut self, way: Way, tenant: &TenantName) {
        self.turn(way, tenant, Phase::Pending);
    }

    fn turn(&mut self, way: Way, tenant: &TenantName, to: Phase) {
        let member = self.member(tenant);
        if let Some(progress) = member.map(|member| progress(member, way))
            && progress.phase.is_in_flight()
        {
            progress.phase = to;
        }
    }

    /// Takes in what came of a tenant.
    pub fn came(&mut self, way: Way, tenant: &TenantName, came: Came) {
        let Some(member) = self.member(tenant) else {
            return;
        };
        let (phase, reason, message, reached) = match came {
            Came::Done { backup } => (Phase::Succeeded, None, None, Some(backup)),
            Came::Failed {
                reason,
                message,
                reached,
            } => (Phase::Failed, Some(reason), Some(message), reached),
            Came::Skipped { reason, message } => {
                (Phase::Skipped, Some(reason), Some(message), None)
            }
        };
        if let (Way::There, Some(backup)) = (way, reached) {
            member.upgraded = true;
            member.backup = backup.or(member.backup.take());
        }
        let progress = progress(member, way);
        *progress = Progress {
            phase,
            reason,
            message,
            ..progress.clone()
        };
    }

    /// Goes on by itself as far as it can: to the next wave, the pause before
    /// it, or the end. Returns whether anything changed.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let waits = self.in_flight().next().is_some() || self.to_ask().next().is_some();
        if self.state != State::Running || waits {
            return false;
        }
        let next = match self.way() {
            Way::Back => Some(self.end_of_undo()),
            Way::There => self.end_of_upgrade(),
        };
        if let Some(state) = next {
            self.state = state;
            self.message = Some(self.summary());
            self.ended = Some(now);
            self.next_wave = None;
            return true;
        }
        match self.next_wave {
            Some(at) if now < at => false,
            None if self.pauses() => {
                let pause = SignedDuration::from_secs(self.spec.pause_seconds.into());
                self.next_wave = Some(now.checked_add(pause).unwrap_or(now));
                true
            }
            _ => {
                self.begin_wave();
                true
            }
        }
    }

    fn end_of_undo(&self) -> State {
        let failed = |member: &Member| member.phase(Way::Back) == Phase::Failed;
        match self.tenants.iter().any(failed) {
            true => State::Failed,
            false => State::Undone,
        }
    }

    fn end_of_upgrade(&self) -> Option<State> {
        let failed = self.count(Phase::Failed);
        let allowed = usize::try_from(self.spec.max_failures).unwrap_or(usize::MAX);
        let nothing_left = self.count(Phase::Pending) == 0;
        match nothing_left {
            true if failed > allowed => Some(State::Failed),
            true => Some(State::Succeeded),
            false => (failed.saturating_sub(self.forgiven) > allowed).then_some(State::Failed),
        }
    }

    /// Whether there is a pause after the last wave. One in which nothing was
    /// done needs none.
    fn pauses(&self) -> bool {
        let done = |member: &Member| {
            let phase = member.there.phase;
            member.wave == Some(self.wave) && matches!(phase, Phase::Succeeded | Phase::Failed)
        };
        self.spec.pause_seconds > 0 && self.tenants.iter().any(done)
    }

    fn begin_wave(&mut self) {
        self.wave += 1;
        self.next_wave = None;
        let size = self.spec.wave.of(self.tenants.len());
        let members = self.tenants.iter_mut();
        let pending = members.filter(|member| member.there.phase == Phase::Pending);
        for member in pending.take(size) {
            member.wave = Some(self.wave);
        }
    }

    /// Has it ask no further tenant.
    ///
    /// # Errors
    /// It asks none.
    pub fn pause(&mut self) -> Result<(), Refused> {
        if self.state != State::Running {
            return Err(Refused::NotRunning {
                id: self.id.clone(),
                state: self.word(),
            });
        }
        self.state = State::Paused;
        Ok(())
    }

    /// Has it go on, at once. What failed so far counts no more; with
    /// `retry_failed`, it is asked again.
    ///
    /// # Errors
    /// There is nothing to go on with.
    pub fn resume(&mut self, retry_failed: bool, now: Timestamp) -> Result<(), Refused> {
        let way = self.way();
        let phase = |member: &Member| match way {
            Way::Back if !member.upgraded => Phase::Skipped,
            way => member.phase(way),
        };
        let any = |wanted| self.tenants.iter().any(|member| phase(member) == wanted);
        let (pending, failed) = (any(Phase::Pending), any(Phase::Failed));
        let remedy = match self.state {
            State::Running => Some("it goes on by itself"),
            State::Paused => None,
            State::Succeeded | State::Failed | State::Undone => match (pending, failed) {
                (_, true) if retry_failed => None,
                (true, _) => None,
                (false, true) => Some("say that those that failed are to be tried again"),
                (false, false) => Some("nothing of it is left to do"),
            },
        };
        if let Some(remedy) = remedy {
            return Err(Refused::CannotResume {
                id: self.id.clone(),
                state: self.word(),
                remedy,
            });
        }
        if retry_failed {
            self.try_again(way);
        }
        self.forgiven = self.count(Phase::Failed);
        let rests = self.in_flight().next().is_none();
        self.next_wave = rests.then_some(now);
        self.run();
        Ok(())
    }

    fn try_again(&mut self, way: Way) {
        let failed = |member: &&mut Member| member.phase(way) == Phase::Failed;
        for member in self.tenants.iter_mut().filter(failed) {
            // One that has the version is only waited for.
            let phase = match (way, member.upgraded) {
                (Way::There, true) => Phase::Asked,
                _ => Phase::Pending,
            };
            if way == Way::There {
                member.wave = None;
            }
            let progress = progress(member, way);
            *progress = Progress {
                phase,
                since: progress.since,
                retried: true,
                ..Progress::default()
            };
        }
    }

    /// Has the tenants that it upgraded brought back, and asks no other.
    ///
    /// # Errors
    /// It is on its way back, or upgraded none.
    pub fn undo(&mut self) -> Result<(), Refused> {
        let id = || self.id.clone();
        if self.undo {
            return Err(Refused::UndoneAlready { id: id() });
        }
        let upgraded = self.tenants.iter().any(|member| member.upgraded);
        if !upgraded && !self.flies(Way::There) {
            return Err(Refused::NothingToUndo { id: id() });
        }
        self.undo = true;
        self.next_wave = None;
        self.run();
        Ok(())
    }

    /// The backup that bringing a tenant back would restore, for as long as
    /// that can be asked for; `runs` is the version that the tenant has now.
    #[must_use]
    pub fn needs_backup(&self, tenant: &TenantName, runs: &Version) -> Option<&BackupId> {
        // One whose way back failed can be tried again.
        if self.state == State::Undone || *runs != self.spec.target_version {
            return None;
        }
        let mut members = self.tenants.iter();
        let member = members.find(|member| member.tenant == *tenant && member.upgraded)?;
        member.backup.as_ref()
    }

    fn run(&mut self) {
        self.state = State::Running;
        self.message = None;
        self.ended = None;
    }

    fn member(&mut self, tenant: &TenantName) -> Option<&mut Member> {
        let mut members = self.tenants.iter_mut();
        members.find(|member| member.tenant == *tenant)
    }
}

fn progress(member: &mut Member, way: Way) -> &mut Progress {
    match way {
        Way::There => &mut member.there,
        Way::Back => member.back.get_or_insert_default(),
    }
}
