//! The faults of one device. Any thread may ask for one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::faults::later::Held;
use crate::faults::random::draw;
use crate::faults::rule::{About, FaultKind, Rule};
use crate::interrupt::Interrupt;

/// Most faults that a device has at a time.
pub const FAULTS_MAX: usize = 64;
/// Most things that faults hold back until they are taken back: what comes beyond goes on.
const HELD_MAX: usize = 4096;

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
    /// How long it is delayed.
    pub delay: Option<Duration>,
    /// How many bytes the fault is about.
    pub bytes: Option<u64>,
}

impl Hit {
    /// One of more random numbers of the event.
    #[must_use]
    pub const fn draw(&self, index: u64) -> u64 {
        draw(self.random, index)
    }
}

/// How a fault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its number.
    pub id: u32,
    /// Events that it was about.
    pub seen: u64,
    /// Events that it took.
    pub hits: u64,
    /// Events that it holds back now.
    pub held: usize,
    /// What it did last, where that says more than its kind.
    pub last: String,
}

/// The faults that were ordered of one device.
#[derive(Default)]
pub struct Faults {
    /// Bits of the kinds that are ordered ([`FaultKind::bit`]).
    ordered: AtomicU64,
    table: Mutex<Table>,
    /// The interrupt of the device, to raise it later.
    pub(super) interrupt: OnceLock<Weak<Interrupt>>,
}

#[derive(Default)]
struct Table {
    last_id: u32,
    entries: Vec<(Rule, State)>,
    /// By the number of the fault.
    held: Vec<(u32, Box<dyn Held>)>,
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
        let id = table.last_id;
        let state = State {
            id,
            seen: 0,
            hits: 0,
            held: 0,
            last: String::new(),
        };
        table.entries.push((rule, state));
        self.publish(&table);
        Some(id)
    }

    /// Take a fault back, and let go on what it holds back; returns how it stood. None if there is none
    /// of that number.
    pub fn remove(&self, id: u32) -> Option<State> {
        let mut table = self.lock();
        let place = table.entries.iter().position(|(_, state)| state.id == id)?;
        let (_, mut state) = table.entries.remove(place);
        self.publish(&table);
        let held = std::mem::take(&mut table.held);
        let (its, others): (Vec<_>, Vec<_>) = held.into_iter().partition(|(of, _)| *of == id);
        table.held = others;
        // What is released asks for faults itself.
        drop(table);
        state.held = its.iter().filter(|(_, one)| one.is_alive()).count();
        for (_, one) in its {
            one.release();
        }
        Some(state)
    }

    /// Hold something back until a fault is taken back. It goes on at once if the fault is not there, or
    /// if there is no room.
    pub fn hold(&self, id: u32, one: Box<dyn Held>) {
        let mut table = self.lock();
        let known = table.entries.iter().any(|(_, state)| state.id == id);
        if table.held.len() >= HELD_MAX {
            table.held.retain(|(_, one)| one.is_alive());
        }
        if known && table.held.len() < HELD_MAX {
            table.held.push((id, one));
            return;
        }
        drop(table);
        one.release();
    }

    /// Keep what a fault did last.
    pub fn tell(&self, id: u32, text: &str) {
        let mut table = self.lock();
        let found = table.entries.iter_mut().find(|(_, state)| state.id == id);
        if let Some((_, state)) = found {
            text.clone_into(&mut state.last);
        }
    }

    /// How the faults stand, in the order in which they were ordered.
    #[must_use]
    pub fn list(&self) -> Vec<State> {
        let table = self.lock();
        let held = |id| {
            let its = table
                .held
                .iter()
                .filter(|(of, one)| *of == id && one.is_alive());
            its.count()
        };
        let states = table.entries.iter().map(|(_, state)| State {
            held: held(state.id),
            ..state.clone()
        });
        states.collect()
    }

    /// Ask for a fault of one of some kinds (their bits): the first one that takes the event. The
    /// others do not see it then.
    #[must_use]
    pub fn take(&self, kinds: u64, about: &About) -> Option<Hit> {
        // Nearly always nothing is ordered: that costs one load.
        if !self.are_ordered(kinds) {
            return None;
        }
        let mut table = self.lock();
        table
            .entries
            .iter_mut()
            .filter(|(rule, _)| rule.kind.bit() & kinds != 0 && rule.scope.covers(about))
            .find_map(|(rule, state)| take(rule, state))
    }

    /// True while a fault of one of some kinds (their bits) is ordered: one load.
    #[must_use]
    pub fn are_ordered(&self, kinds: u64) -> bool {
        self.ordered.load(Ordering::Relaxed) & kinds != 0
    }

    /// Like [`Faults::take`], of one fault.
    #[must_use]
    pub fn offer(&self, id: u32) -> Option<Hit> {
        let mut table = self.lock();
        let found = table.entries.iter_mut().find(|(_, state)| state.id == id);
        found.and_then(|(rule, state)| take(rule, state))
    }

    /// How long a fault waits before its next event, where it makes events itself. None without it, and
    /// once it can take no more.
    #[must_use]
    pub fn pause(&self, id: u32) -> Option<Duration> {
        let table = self.lock();
        let (rule, state) = table.entries.iter().find(|(_, state)| state.id == id)?;
        let limit = rule.trigger.limit;
        if limit > 0 && state.hits >= limit {
            return None;
        }
        let delay = rule
            .delay
            .map(|one| one.draw(rule.trigger.draw(state.seen)));
        Some(delay.unwrap_or_default())
    }

    /// True once a fault of a kind has taken an event and an event would be about it too: for what stays
    /// as it is until the fault is taken back.
    #[must_use]
    pub fn holds(&self, kind: FaultKind, about: &About) -> bool {
        let table = self.lock();
        table
            .entries
            .iter()
            .any(|(rule, state)| rule.kind == kind && state.hits > 0 && rule.scope.covers(about))
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

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.list()).finish()
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
    let random = rule.trigger.draw(index);
    Some(Hit {
        id: state.id,
        kind: rule.kind,
        index,
        random,
        delay: rule.delay.map(|delay| delay.draw(random)),
        bytes: rule.bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            delay: None,
            bytes: None,
        }
    }

    const ALL: u64 = u64::MAX;

    #[test]
    fn a_limit_ends_it_and_it_goes_on_counting() {
        let faults = Faults::default();
        let id = faults.add(rule(2)).unwrap();
        let hits = (0..5).map(|_| faults.take(ALL, &About::default()).is_some());
        assert_eq!(hits.collect::<Vec<_>>(), [true, true, false, false, false]);
        let state = &faults.list()[0];
        assert_eq!((state.id, state.seen, state.hits), (id, 5, 2));
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
    fn what_a_fault_holds_back_goes_on_when_it_is_taken_back() {
        let faults = Arc::new(Faults::default());
        let (id, other) = (faults.add(rule(0)).unwrap(), faults.add(rule(0)).unwrap());
        let gone_on = Arc::new(AtomicU64::new(0));
        let count = || {
            let (gone_on, asked) = (Arc::clone(&gone_on), Arc::clone(&faults));
            // What goes on may ask for faults.
            Box::new(move || {
                gone_on.fetch_add(1, Ordering::SeqCst);
                assert!(asked.list().len() <= 2);
            })
        };
        faults.hold(id, count());
        faults.hold(id, count());
        faults.hold(other, count());
        assert_eq!(
            faults.list().iter().map(|one| one.held).collect::<Vec<_>>(),
            [2, 1]
        );
        assert_eq!(faults.remove(id).map(|state| state.held), Some(2));
        assert_eq!(gone_on.load(Ordering::SeqCst), 2);
        faults.hold(id, count());
        assert_eq!(gone_on.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn there_is_a_most_of_them() {
        let faults = Faults::default();
        let added = (0..=FAULTS_MAX).filter_map(|_| faults.add(rule(0)));
        assert_eq!(added.count(), FAULTS_MAX);
    }
}
