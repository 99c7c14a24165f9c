//! No notification and no interrupt is lost, and the models find it if one is.

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use crate::{Format, PACKED, PACKED_EVENTS, SPLIT, SPLIT_EVENTS, ask, hear, models, queue, serve};

/// Bound of the largest models: times a thread is interrupted where it need not be.
const PREEMPTIONS: usize = 3;

/// The device goes to sleep while the driver adds a chain: one of them has to notice.
fn kick_race(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        device.disable_notifications();
        let peer = thread::spawn(move || {
            let sleeps = !device.enable_notifications().unwrap();
            (device, sleeps)
        });
        ask(&memory, &mut driver, 0, 1);
        let notified = driver.should_notify();
        let (_, sleeps) = peer.join().unwrap();
        assert!(notified || !sleeps, "a notification is lost");
    });
}

/// The driver goes to sleep while the device uses a chain: one of them has to notice.
fn interrupt_race(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        ask(&memory, &mut driver, 0, 1);
        driver.disable_interrupts();
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            assert!(serve(&theirs, &mut device));
            device.needs_interrupt()
        });
        let sleeps = !driver.enable_interrupts();
        let interrupted = peer.join().unwrap();
        assert!(interrupted || !sleeps, "an interrupt is lost");
    });
}

/// A whole conversation in which each side sleeps when it finds nothing: loom fails if both sleep.
fn conversation(format: Format) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        let (kick, call) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (theirs, their_kick, their_call) = (memory.clone(), kick.clone(), call.clone());
        let peer = thread::spawn(move || {
            let mut served = 0;
            while served < 2 {
                device.disable_notifications();
                if serve(&theirs, &mut device) {
                    served += 1;
                    if device.needs_interrupt() {
                        their_call.notify();
                    }
                } else if !device.enable_notifications().unwrap() {
                    their_kick.wait();
                }
            }
        });
        for question in 0..2 {
            driver.disable_interrupts();
            ask(&memory, &mut driver, question, question);
            if driver.should_notify() {
                kick.notify();
            }
            while !hear(&memory, &mut driver, question, question) {
                if !driver.enable_interrupts() {
                    call.wait();
                }
            }
        }
        peer.join().unwrap();
    });
}

models!(conversation:
    nobody_sleeps_for_ever_with_flags SPLIT,
    nobody_sleeps_for_ever_with_event_indexes SPLIT_EVENTS,
    nobody_sleeps_for_ever_with_packed_flags PACKED,
    nobody_sleeps_for_ever_with_packed_events PACKED_EVENTS,
);
models!(kick_race:
    no_notification_is_lost_with_flags SPLIT,
    no_notification_is_lost_with_event_indexes SPLIT_EVENTS,
    no_notification_is_lost_with_packed_flags PACKED,
    no_notification_is_lost_with_packed_events PACKED_EVENTS,
);
models!(interrupt_race:
    no_interrupt_is_lost_with_flags SPLIT,
    no_interrupt_is_lost_with_event_indexes SPLIT_EVENTS,
    no_interrupt_is_lost_with_packed_flags PACKED,
    no_interrupt_is_lost_with_packed_events PACKED_EVENTS,
);

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "a notification is lost")]
fn notification_would_be_lost_without_fences() {
    kick_race(without_fences(SPLIT_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "a notification is lost")]
fn packed_notification_would_be_lost_without_fences() {
    kick_race(without_fences(PACKED_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "an interrupt is lost")]
fn interrupt_would_be_lost_without_fences() {
    interrupt_race(without_fences(SPLIT_EVENTS));
}

/// The model finds what it is there to find.
#[test]
#[should_panic(expected = "an interrupt is lost")]
fn packed_interrupt_would_be_lost_without_fences() {
    interrupt_race(without_fences(PACKED_EVENTS));
}

fn without_fences(format: Format) -> Format {
    Format {
        fences: false,
        ..format
    }
}
