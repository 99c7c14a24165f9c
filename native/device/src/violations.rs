//! The rules that the driver of a device has broken: how often, and where the first time stands in the
//! trace.
//!
//! Whoever finds a violation names the rule, whose statement and clause are data elsewhere. Only a
//! violation costs anything: a driver that breaks no rule never comes here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::interrupt::Interrupt;
use crate::recorder::{Recorder, now};
use crate::trace_event::TraceEvent;

/// Most rules that are kept: there are fewer. What comes beyond is not kept.
pub const RULES_MAX: usize = 256;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule.
    pub rule: String,
    /// How often it was broken.
    pub count: u64,
    /// What the driver did the first time.
    pub text: String,
    /// The event of the first time, with queue, chain or register.
    pub event: TraceEvent,
    /// Its number in the trace; None without a recorder.
    pub sequence: Option<u64>,
    /// `CLOCK_MONOTONIC` of the first time, in ns.
    pub time_ns: u64,
    /// Tag of the request on the register channel that broke it the first time.
    pub request: Option<u32>,
}

/// The violations of one driver. Any thread may add one.
#[derive(Debug, Default)]
pub struct Violations {
    found: Mutex<BTreeMap<String, Violation>>,
    /// There is a first violation that no answer of the register channel has told.
    news: AtomicBool,
}

impl Violations {
    /// Count a violation. The first one of a rule is recorded: rule and text are the text of the event.
    /// `request` is the tag of the request that is being executed, if it did it.
    pub fn add(
        &self,
        rule: &str,
        text: &str,
        event: TraceEvent,
        time_ns: u64,
        recorder: Option<&Recorder>,
        request: Option<u32>,
    ) {
        let mut found = self.lock();
        if let Some(known) = found.get_mut(rule) {
            known.count += 1;
            return;
        }
        if found.len() == RULES_MAX {
            return;
        }
        let sequence = recorder.and_then(|to| to.record_note(event, &format!("{rule}: {text}")));
        let first = Violation {
            rule: rule.to_owned(),
            count: 1,
            text: text.to_owned(),
            event,
            sequence,
            time_ns,
            request,
        };
        found.insert(rule.to_owned(), first);
        self.news.store(true, Ordering::Release);
    }

    /// Say whether a rule was broken for the first time since this was asked last.
    #[must_use]
    pub fn take_news(&self) -> bool {
        // Loaded first: a driver that breaks no rule costs no write.
        self.news.load(Ordering::Acquire) && self.news.swap(false, Ordering::AcqRel)
    }

    /// All of them, by the time of the first one.
    #[must_use]
    pub fn list(&self) -> Vec<Violation> {
        let mut found: Vec<_> = self.lock().values().cloned().collect();
        found.sort_by_key(|violation| violation.time_ns);
        found
    }

    /// Forget them: another driver begins.
    pub fn clear(&self) {
        let mut found = self.lock();
        found.clear();
        self.news.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Violation>> {
        // Nothing panics while it is held.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// The rules that the driver broke.
    #[must_use]
    pub const fn violations(&self) -> &Violations {
        &self.violations
    }

    /// Count a violation of a rule by the driver; the first one is recorded. `event` has the queue and
    /// the chain, or the register.
    pub fn violated(&self, rule: &str, text: &str, event: TraceEvent) {
        let recorder = self.recorder().map(AsRef::as_ref);
        self.violations
            .add(rule, text, event, now(), recorder, None);
    }

    /// Like the method above, for the thread that executes requests of the register channel: the one
    /// that is under way did it, if any is.
    pub fn violated_by_request(&self, rule: &str, text: &str, event: TraceEvent) {
        let recorder = self.recorder().map(AsRef::as_ref);
        self.violations
            .add(rule, text, event, now(), recorder, self.request());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_event::EventKind;

    fn event() -> TraceEvent {
        TraceEvent::new(EventKind::Violation)
    }

    #[test]
    fn the_first_violation_of_a_rule_is_kept_and_later_ones_are_counted() {
        let (violations, recorder) = (Violations::default(), Recorder::new(8));
        violations.add("b", "first", event(), 1, Some(&recorder), None);
        violations.add("a", "other", event(), 2, Some(&recorder), None);
        violations.add("b", "second", event(), 3, Some(&recorder), None);
        let found = violations.list();
        let rows: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.rule.as_str(),
                    one.count,
                    one.text.as_str(),
                    one.sequence,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [("b", 2, "first", Some(0)), ("a", 1, "other", Some(1))]
        );
        assert_eq!(recorder.next(), 2);
        assert_eq!(recorder.read(0, 8).notes[0].1, "b: first");
    }

    #[test]
    fn without_a_recorder_a_violation_has_no_number() {
        let violations = Violations::default();
        violations.add("a", "", event(), 1, None, None);
        violations.add("b", "", event(), 1, Some(&Recorder::new(0)), None);
        assert!(violations.list().iter().all(|one| one.sequence.is_none()));
    }

    #[test]
    fn clearing_forgets_and_the_next_one_is_a_first_one_again() {
        let (violations, recorder) = (Violations::default(), Recorder::new(8));
        violations.add("a", "", event(), 1, Some(&recorder), None);
        violations.clear();
        assert!(violations.list().is_empty());
        violations.add("a", "", event(), 2, Some(&recorder), None);
        assert_eq!(violations.list()[0].sequence, Some(1));
    }

    #[test]
    fn the_rules_that_are_kept_are_bounded() {
        let violations = Violations::default();
        for number in 0..2 * RULES_MAX {
            violations.add(&number.to_string(), "", event(), 0, None, None);
        }
        assert_eq!(violations.list().len(), RULES_MAX);
    }

    #[test]
    fn a_first_violation_is_news_once_and_later_ones_are_none() {
        let violations = Violations::default();
        assert!(!violations.take_news());
        violations.add("a", "", event(), 1, None, Some(7));
        assert!(violations.take_news());
        assert!(!violations.take_news());
        violations.add("a", "", event(), 2, None, Some(8));
        assert!(!violations.take_news());
        assert_eq!(violations.list()[0].request, Some(7));
    }
}
