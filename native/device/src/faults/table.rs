//! The faults of one device. Any thread may ask for one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::faults::rule::{About, FaultKind, Rule};

/// Most faults that a device has at a time.
pub const FAULTS_MAX: usize = 64;

/// A fault took hold of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Number of the fault.
    pub id: u32,
    /// What it does.
    pub kind: FaultKind,
    /// Which event it was of those that the fault is about, from 0 on.
    pub index: u64,
    /// A random number of the event.
    pub random: u64,
}

/// How a fault stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Its number.
    pub id: u32,
    /// Events that it was about.
    pub seen: u64,
    /// Events that it took.
    pub hits: u64,
}

/// The faults that were ordered of one device.
#[derive(Debug, Default)]
pub struct Faults {
    /// Bits of the kinds that are ordered ([`FaultKind::bit`]).
    ordered: AtomicU64,
    /// Events taken since the start, those of faults that are gone included.
    taken: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last_id: u32,
    entries: Vec<(Rule, State)>,
}

impl Faults {
    /// Order a fault; returns its number, from 1 on. None if there are [`FAULTS_MAX`] already.
    #[must_use]
    pub fn add(&self, rule: Rule) -> Option<u32> {
        let mut table = self.lock();
        if table.entries.len() >= FAULTS_MAX {
            return None;
        }
        table.last_id += 1;
        let state = State {
            id: table.last_id,
            seen: 0,
            hits: 0,
        };
        table.entries.push((rule, state));
        self.publish(&table);
        Some(state.id)
    }

    /// Take a fault back; returns how it stood. None if there is none of that number.
    pub fn remove(&self, id: u32) -> Option<State> {
        let mut table = self.lock();
        let place = table.entries.iter().position(|(_, state)| state.id == id)?;
        let (_, state) = table.entries.remove(place);
        self.publish(&table);
        Some(state)
    }

    /// How the faults stand, in the order in which they were ordered.
    #[must_use]
    pub fn list(&self) -> Vec<State> {
        self.lock()
            .entries
            .iter()
            .map(|(_, state)| *state)
            .collect()
    }

    /// Events taken since the start, whether or not their faults are still there.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ask for a fault of one of some kinds (their bits): the first one that takes the event. The
    /// others do not see it then.
    #[must_use]
    pub fn take(&self, kinds: u64, about: &About) -> Option<Hit> {
        // Nearly always nothing is ordered: that costs one load.
        if self.ordered.load(Ordering::Relaxed) & kinds == 0 {
            return None;
        }
        let mut table = self.lock();
        let hit = table
            .entries
            .iter_mut()
            .filter(|(rule, _)| rule.kind.bit() & kinds != 0 && rule.scope.covers(about))
            .find_map(|(rule, state)| take(rule, state));
        self.taken
            .fetch_add(hit.is_some().into(), Ordering::Relaxed);
        hit
    }

    fn publish(&self, table: &Table) {
        let bits = table.entries.iter().map(|(rule, _)| rule.kind.bit());
        self.ordered
            .store(bits.fold(0, |set, bit| set | bit), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Count an event that a fault is about, and say whether it takes it.
fn take(rule: &Rule, state: &mut State) -> Option<Hit> {
    let index = state.seen;
    state.seen += 1;
    let limit = rule.trigger.limit;
    if (limit > 0 && state.hits >= limit) || !rule.trigger.takes(index) {
        return None;
    }
    state.hits += 1;
    Some(Hit {
        id: state.id,
        kind: rule.kind,
        index,
        random: rule.trigger.draw(index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::rule::{Scope, Trigger};

    fn rule(limit: u64) -> Rule {
        Rule {
            kind: FaultKind::IoError,
            scope: Scope::default(),
            trigger: Trigger {
                after: 0,
                every: 1,
                probability: 1.0,
                limit,
                seed: 0,
            },
        }
    }

    const ALL: u64 = u64::MAX;

    #[test]
    fn a_limit_ends_it_and_it_goes_on_counting() {
        let faults = Faults::default();
        let id = faults.add(rule(2)).unwrap();
        let hits = (0..5).map(|_| faults.take(ALL, &About::default()).is_some());
        assert_eq!(hits.collect::<Vec<_>>(), [true, true, false, false, false]);
        assert_eq!(
            faults.list(),
            [State {
                id,
                seen: 5,
                hits: 2
            }]
        );
        assert_eq!(faults.taken(), 2);
    }

    #[test]
    fn only_the_first_that_takes_an_event_sees_it() {
        let faults = Faults::default();
        let (first, second) = (faults.add(rule(1)).unwrap(), faults.add(rule(0)).unwrap());
        let taken = [0; 2].map(|_| faults.take(ALL, &About::default()).map(|hit| hit.id));
        assert_eq!(taken, [Some(first), Some(second)]);
    }

    #[test]
    fn a_fault_that_was_taken_back_takes_nothing_and_its_number_is_not_given_again() {
        let faults = Faults::default();
        let id = faults.add(rule(0)).unwrap();
        assert_eq!(faults.remove(id).map(|state| state.id), Some(id));
        assert_eq!(faults.remove(id), None);
        assert_eq!(faults.take(ALL, &About::default()), None);
        assert_ne!(faults.add(rule(0)), Some(id));
    }

    #[test]
    fn there_is_a_most_of_them() {
        let faults = Faults::default();
        let added = (0..=FAULTS_MAX).filter_map(|_| faults.add(rule(0)));
        assert_eq!(added.count(), FAULTS_MAX);
    }
}
