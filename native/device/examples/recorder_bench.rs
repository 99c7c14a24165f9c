//! What recording an event costs, in ns: `cargo run --release --example recorder_bench`.
//!
//! The best of the rounds: nothing but the recorder itself is timed.

#![allow(
    clippy::cast_precision_loss,
    reason = "times and counts are far below 2^52"
)]

use std::hint::black_box;
use std::time::Instant;

use virtmesh_device::{EventKind, Recorder, TraceEvent, now};

const EVENTS: u32 = 1 << 18;
const ROUNDS: usize = 21;

/// Best of the rounds, in ns for each event.
fn best(action: impl Fn(u32)) -> f64 {
    let round = || {
        let start = Instant::now();
        (0..EVENTS).for_each(&action);
        start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn event(number: u32) -> TraceEvent {
    TraceEvent::of_chain(EventKind::Pop, 1, 2, number.into(), 4)
}

fn main() {
    println!("a clock reading: {:.1}", best(|_| _ = black_box(now())));
    for capacity in [256, 1 << 16] {
        let recorder = Recorder::new(capacity);
        let one = best(|number| recorder.record(event(number)));
        let timed = best(|number| recorder.record_at(0, [event(number)]));
        let batch = best(|number| {
            if number.is_multiple_of(32) {
                recorder.record_at(0, (number..number + 32).map(event));
            }
        });
        println!(
            "of {capacity} kept: alone {one:.1}, with a time {timed:.1}, in batches of 32 {batch:.1}"
        );
    }
    let off = Recorder::new(0);
    println!("off: {:.1}", best(|number| off.record(event(number))));
}
