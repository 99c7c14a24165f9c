use std::thread;
use std::time::Instant;

use super::*;
use crate::faults::delay::Delay;
use crate::faults::rule::{Rule, Scope, Trigger};

fn order(interrupt: &Interrupt, kind: FaultKind, delay: Option<Delay>, queue: Option<u8>) -> u32 {
    let scope = Scope {
        queue,
        ..Scope::default()
    };
    let trigger = Trigger {
        after: 0,
        every: 2,
        probability: 1.0,
        limit: 0,
        seed: 1,
    };
    let rule = Rule {
        kind,
        scope,
        trigger,
        delay,
        bytes: None,
    };
    interrupt.faults().add(rule).unwrap()
}

#[test]
fn each_second_interrupt_of_a_queue_is_lost_and_no_other() {
    let interrupt = Interrupt::shared().unwrap();
    order(&interrupt, FaultKind::LostInterrupt, None, Some(1));
    for _ in 0..4 {
        interrupt.raise_used(1);
        interrupt.raise_used(0);
    }
    interrupt.raise_config();
    assert_eq!(interrupt.sequence(), 2 + 4 + 1);
}

#[test]
fn a_lost_interrupt_leaves_nothing_pending() {
    let interrupt = Interrupt::shared().unwrap();
    order(&interrupt, FaultKind::LostInterrupt, None, None);
    interrupt.raise_used(0);
    interrupt.acknowledge(1);
    interrupt.raise_used(0);
    assert_eq!((interrupt.status(), interrupt.sequence()), (0, 1));
}

#[test]
fn a_late_interrupt_comes_and_a_double_one_comes_twice() {
    let interrupt = Interrupt::shared().unwrap();
    let delay = Delay::Uniform(1000, 1000);
    let late = order(&interrupt, FaultKind::LateInterrupt, Some(delay), None);
    interrupt.raise_used(0);
    let begun = Instant::now();
    interrupt.raise_used(0);
    while interrupt.sequence() < 2 {
        thread::yield_now();
    }
    assert!(begun.elapsed() >= Duration::from_millis(1));
    interrupt.faults().remove(late).unwrap();
    order(&interrupt, FaultKind::DoubleInterrupt, None, None);
    interrupt.raise_used(0);
    interrupt.raise_used(0);
    while interrupt.sequence() < 5 {
        thread::yield_now();
    }
}

#[test]
fn a_stuck_queue_stays_so_until_its_fault_is_taken_back() {
    let interrupt = Interrupt::shared().unwrap();
    let id = order(&interrupt, FaultKind::StuckQueue, None, Some(0));
    let taken = [0; 4].map(|queue| interrupt.most_taken(queue, 32));
    assert_eq!(taken, [Some(1), None, None, None]);
    assert_eq!(
        (interrupt.is_stuck(0), interrupt.is_stuck(1)),
        (true, false)
    );
    assert_eq!(interrupt.most_taken(1, 32), Some(1));
    interrupt.faults().remove(id).unwrap();
    assert_eq!(interrupt.most_taken(0, 32), Some(32));
}

#[test]
fn what_is_told_of_a_chain_is_never_the_truth() {
    let hit = |kind, random| Hit {
        id: 1,
        kind,
        index: 0,
        random,
        delay: None,
        bytes: None,
    };
    for random in 0..1000 {
        let (head, written) = told_of(&hit(FaultKind::WrongId, random), 8, (5, 100));
        assert!(head < 8 && head != 5 && written == 100);
        let (head, written) = told_of(&hit(FaultKind::WrongLength, random), 8, (5, 100));
        assert!(head == 5 && written > 100);
    }
}
