//! Counts and keeps events, within bounds.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Event, Regarding, Series};

/// A bounded collection of events. When it is full, what was seen last the
/// longest ago goes first.
#[derive(Debug, Clone)]
pub struct Journal {
    /// By object, in the order in which they were last seen.
    series: BTreeMap<Regarding, Vec<Series>>,
    total: usize,
    per_object: usize,
    limit: usize,
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The event with its count.
    pub series: Series,
    /// What had to go for it.
    pub dropped: Vec<Series>,
}

impl Journal {
    /// An empty journal that keeps this many events of one object, and of all
    /// objects together; at least one.
    #[must_use]
    pub fn new(per_object: usize, limit: usize) -> Self {
        Self {
            series: BTreeMap::new(),
            total: 0,
            per_object: per_object.max(1),
            limit: limit.max(1),
        }
    }

    /// Takes what was kept before a restart. Returns what there is no room for.
    pub fn load(&mut self, mut series: Vec<Series>) -> Vec<Series> {
        series.sort_by_key(|series| series.last_seen);
        let mut dropped = Vec::new();
        for series in series {
            let of = series.event.regarding.clone();
            self.series.entry(of.clone()).or_default().push(series);
            self.total += 1;
            dropped.extend(self.shrink(&of));
        }
        dropped
    }

    /// Counts an event that happened now.
    pub fn add(&mut self, event: Event, now: Timestamp) -> Added {
        let of = event.regarding.clone();
        let all = self.series.entry(of.clone()).or_default();
        let known = all.iter().position(|series| series.event == event);
        let series = match known.map(|at| all.remove(at)) {
            Some(series) => Series {
                count: series.count.saturating_add(1),
                // The clock may have been set back.
                last_seen: now.max(series.last_seen),
                ..series
            },
            None => {
                self.total += 1;
                Series {
                    event,
                    count: 1,
                    first_seen: now,
                    last_seen: now,
                }
            }
        };
        all.push(series.clone());
        let dropped = self.shrink(&of).into_iter().collect();
        Added { series, dropped }
    }

    /// The events of an object, those last seen at the end.
    #[must_use]
    pub fn of(&self, regarding: &Regarding) -> &[Series] {
        self.series.get(regarding).map_or(&[], Vec::as_slice)
    }

    /// Every event.
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values().flatten()
    }

    fn shrink(&mut self, of: &Regarding) -> Option<Series> {
        let crowded = self.of(of).len() > self.per_object;
        if !crowded && self.total <= self.limit {
            return None;
        }
        // Never the newest one of the object that was just added to, unless it
        // is all there is.
        let victim = if crowded {
            of.clone()
        } else {
            let oldest = self
                .series
                .iter()
                .filter(|(key, all)| *key != of || all.len() > 1);
            let oldest = oldest.min_by_key(|(_, all)| all.first().map(|series| series.last_seen));
            oldest.map_or(of, |(key, _)| key).clone()
        };
        let all = self.series.get_mut(&victim)?;
        let dropped = all.remove(0);
        if all.is_empty() {
            self.series.remove(&victim);
        }
        self.total -= 1;
        Some(dropped)
    }
}
