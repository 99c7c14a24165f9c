//! Tests of the interrupt of a device.

use std::os::fd::AsRawFd;

use super::*;

fn readable(event: &EventFd) -> bool {
    let mut entry = libc::pollfd {
        fd: event.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
}

#[test]
fn raising_sets_bits_until_they_are_acknowledged() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.raise_used(0);
    interrupt.raise_config();
    assert_eq!(
        interrupt.status(),
        INTERRUPT_USED_BUFFER | INTERRUPT_CONFIG_CHANGE
    );
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    assert_eq!(interrupt.status(), INTERRUPT_CONFIG_CHANGE);
    assert_eq!(interrupt.sequence(), 2);
}

#[test]
fn a_level_is_asserted_while_there_is_a_source_and_counts_its_rises() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.set_level(1);
    interrupt.set_level(1 | 4);
    interrupt.set_level(4);
    assert_eq!((interrupt.status(), interrupt.sequence()), (4, 1));
    interrupt.set_level(0);
    assert_eq!((interrupt.status(), interrupt.sequence()), (0, 1));
    interrupt.set_level(2);
    assert_eq!((interrupt.status(), interrupt.sequence()), (2, 2));
}

#[test]
fn an_observer_of_a_level_is_woken_by_its_rise_and_by_its_fall() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.set_observed(true);
    interrupt.set_level(1);
    assert!(readable(&interrupt.wake));
    interrupt.wake.drain();
    interrupt.set_level(1);
    assert!(!readable(&interrupt.wake));
    for sources in [1 | 2, 2, 0] {
        interrupt.set_level(sources);
        assert!(readable(&interrupt.wake), "sources {sources:#x}");
        interrupt.wake.drain();
    }
}

#[test]
fn an_observer_is_woken_by_an_acknowledgement_that_clears_a_bit() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.raise_used(0);
    interrupt.set_observed(true);
    interrupt.acknowledge(INTERRUPT_CONFIG_CHANGE);
    assert!(!readable(&interrupt.wake));
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    assert!(readable(&interrupt.wake));
}

#[test]
fn an_observer_is_woken_by_a_reset_that_lets_the_line_fall() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.set_observed(true);
    interrupt.reset();
    assert!(!readable(&interrupt.wake));
    interrupt.raise_used(0);
    interrupt.wake.drain();
    interrupt.reset();
    assert!(readable(&interrupt.wake));
}

fn with_line() -> (Interrupt, EventFd) {
    let (interrupt, line) = (Interrupt::new().unwrap(), EventFd::new().unwrap());
    interrupt
        .set_line_call(Some(line.as_fd().as_raw_fd()))
        .unwrap();
    (interrupt, line)
}

/// Whether the eventfd was signalled since the last look.
fn signalled(line: &EventFd) -> bool {
    let signalled = readable(line);
    line.drain();
    signalled
}

#[test]
fn the_line_is_signalled_when_it_rises_when_a_cause_is_added_and_when_it_falls() {
    let (interrupt, line) = with_line();
    interrupt.raise_used(0);
    assert!(signalled(&line), "it rose");
    interrupt.raise_used(1);
    assert!(!signalled(&line), "nothing was added");
    interrupt.raise_config();
    assert!(signalled(&line), "a cause was added");
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    assert!(!signalled(&line), "it is up as before");
    interrupt.acknowledge(INTERRUPT_CONFIG_CHANGE);
    assert!(signalled(&line), "it fell");
    interrupt.raise_config();
    line.drain();
    interrupt.reset();
    assert!(signalled(&line), "a reset let it fall");
}

#[test]
fn a_level_line_is_signalled_alike() {
    let (interrupt, line) = with_line();
    let changes = [(1, true), (1 | 2, true), (2, false), (2, false), (0, true)];
    for (sources, expected) in changes {
        interrupt.set_level(sources);
        assert_eq!(signalled(&line), expected, "sources {sources:#x}");
    }
}

#[test]
fn what_an_answer_tells_is_not_signalled_but_interrupts_are() {
    let (interrupt, line) = with_line();
    interrupt.set_answering(true);
    interrupt.set_level(1);
    interrupt.set_level(0);
    assert!(!signalled(&line));
    interrupt.raise_used(0);
    assert!(signalled(&line), "it may come after the answer was made");
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    assert!(!signalled(&line));
    interrupt.set_answering(false);
    interrupt.set_level(1);
    assert!(signalled(&line));
}

#[test]
fn each_queue_has_its_own_eventfd() {
    let interrupt = Interrupt::new().unwrap();
    let (first, second) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    interrupt
        .set_call(0, Some(first.as_fd().as_raw_fd()))
        .unwrap();
    interrupt
        .set_call(1, Some(second.as_fd().as_raw_fd()))
        .unwrap();
    interrupt.raise_used(1);
    assert_eq!((readable(&first), readable(&second)), (false, true));
}

#[test]
fn a_cleared_eventfd_is_not_signalled() {
    let interrupt = Interrupt::new().unwrap();
    let call = EventFd::new().unwrap();
    interrupt
        .set_call(0, Some(call.as_fd().as_raw_fd()))
        .unwrap();
    interrupt.set_call(0, None).unwrap();
    interrupt.raise_used(0);
    assert!(!readable(&call));
}

#[test]
fn a_queue_that_cannot_be_is_refused_or_ignored() {
    let interrupt = Interrupt::new().unwrap();
    let refusal = interrupt.set_call(QUEUE_LIMIT, None).unwrap_err();
    assert!(matches!(refusal, EventfdError::NoSuchQueue { .. }));
    interrupt.raise_used(usize::MAX);
    assert_eq!(interrupt.sequence(), 1);
}

#[test]
fn the_first_fault_is_kept_until_reset() {
    let interrupt = Interrupt::new().unwrap();
    let call = EventFd::new().unwrap();
    interrupt
        .set_config_call(Some(call.as_fd().as_raw_fd()))
        .unwrap();
    interrupt.set_fault("first");
    interrupt.set_fault("second");
    assert_eq!(interrupt.fault().as_deref(), Some("first"));
    assert_eq!(interrupt.status(), INTERRUPT_CONFIG_CHANGE);
    assert!(readable(&call));
    interrupt.reset();
    assert_eq!(
        (interrupt.fault(), interrupt.status(), interrupt.sequence()),
        (None, 0, 2)
    );
}

#[test]
fn the_wake_eventfd_is_signalled_only_while_observed() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.raise_used(0);
    assert!(!readable(&interrupt.wake));
    interrupt.set_observed(true);
    interrupt.raise_used(0);
    assert!(readable(&interrupt.wake));
}
