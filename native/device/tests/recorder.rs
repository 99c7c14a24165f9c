//! The flight recorder: which events are kept, which are lost, and that readers are told both.

use std::sync::Barrier;
use std::thread;

use virtmesh_device::{
    EventKind, INTERRUPT_USED_BUFFER, Interrupt, NOTE_BYTES, NOTES_KEPT, Recorder, SMALL_MAX,
    TraceEvent, now,
};

fn event(value: u64) -> TraceEvent {
    TraceEvent {
        token: u32::try_from(value).unwrap(),
        value,
        extra: value,
        ..TraceEvent::new(EventKind::Push)
    }
}

fn values(recorder: &Recorder, from: u64, limit: usize) -> Vec<u64> {
    let page = recorder.read(from, limit);
    page.records
        .iter()
        .map(|record| record.event.value)
        .collect()
}

#[test]
fn an_event_is_read_as_it_was_recorded() {
    let recorder = Recorder::new(4);
    let sample = TraceEvent::of_chain(EventKind::Pop, 3, u16::MAX, 7, u64::MAX).with_detail(5);
    recorder.record_at(42, [sample]);
    let page = recorder.read(0, 10);
    assert_eq!((page.first, page.lost, page.next()), (0, 0, 1));
    assert_eq!(
        (page.records[0].time_ns, page.records[0].event),
        (42, sample)
    );
}

#[test]
fn the_last_events_are_kept_and_the_others_counted_as_lost() {
    let recorder = Recorder::new(8);
    (0..20).for_each(|value| recorder.record(event(value)));
    let page = recorder.read(3, 100);
    assert_eq!((page.first, page.lost, page.next()), (12, 9, 20));
    assert_eq!(values(&recorder, 0, 100), (12..20).collect::<Vec<_>>());
    assert_eq!((recorder.oldest(), recorder.next()), (12, 20));
}

#[test]
fn pages_follow_one_another_without_holes() {
    let recorder = Recorder::new(64);
    (0..50).for_each(|value| recorder.record(event(value)));
    let mut read = Vec::new();
    let mut next = 0;
    while next < recorder.next() {
        let page = recorder.read(next, 7);
        assert_eq!((page.first, page.lost), (next, 0));
        read.extend(page.records.iter().map(|record| record.event.value));
        next = page.next();
    }
    assert_eq!(read, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_number_that_is_not_recorded_yet_counts_as_the_next() {
    let recorder = Recorder::new(8);
    recorder.record(event(1));
    let page = recorder.read(u64::MAX, 10);
    assert_eq!((page.first, page.lost, page.records.len()), (1, 0, 0));
}

#[test]
fn a_capacity_is_rounded_up_and_zero_is_off() {
    assert_eq!(Recorder::new(5).capacity(), 8);
    assert_eq!(Recorder::new(usize::MAX).capacity(), 1 << 20);
    let off = Recorder::new(0);
    off.record(event(1));
    off.record_note(event(1), "text");
    let page = off.read(0, 10);
    assert_eq!(
        (off.next(), page.records.len(), page.notes.len()),
        (0, 0, 0)
    );
}

#[test]
fn a_batch_has_one_time_and_its_order() {
    let recorder = Recorder::new(8);
    recorder.record_at(9, [0, 1, 2, 3, 4].map(event));
    let page = recorder.read(0, 8);
    assert!(page.records.iter().all(|record| record.time_ns == 9));
    assert_eq!(values(&recorder, 0, 8), [0, 1, 2, 3, 4]);
}

#[test]
fn a_text_is_cut_to_whole_characters_and_the_last_ones_are_kept() {
    let recorder = Recorder::new(256);
    let long = "é".repeat(NOTE_BYTES);
    for _ in 0..=NOTES_KEPT {
        recorder.record_note(event(1), &long);
    }
    let page = recorder.read(0, 256);
    assert_eq!(
        (page.records.len(), page.notes.len()),
        (NOTES_KEPT + 1, NOTES_KEPT)
    );
    assert_eq!(page.notes[0], (1, "é".repeat(NOTE_BYTES / 2)));
    assert!(recorder.read(0, 1).notes.is_empty());
}

#[test]
fn a_queue_or_detail_too_large_for_its_byte_is_cut() {
    let cut = TraceEvent::on_queue(EventKind::Notify, usize::MAX).with_detail(u8::MAX);
    assert_eq!((cut.queue, cut.detail), (SMALL_MAX, SMALL_MAX));
}

#[test]
fn kinds_and_numbers_are_each_other_s_inverse() {
    for (kind, _) in EventKind::ALL {
        assert_eq!(EventKind::from_number(*kind as u8), Some(*kind));
        assert!(*kind as u8 <= SMALL_MAX);
    }
    assert_eq!(EventKind::from_number(0), None);
}

#[test]
fn times_never_go_back() {
    let recorder = Recorder::new(1024);
    let before = now();
    (0..1000).for_each(|value| recorder.record(event(value)));
    let times: Vec<_> = recorder
        .read(0, 1000)
        .records
        .iter()
        .map(|one| one.time_ns)
        .collect();
    assert!(times.is_sorted() && before <= times[0] && times[999] <= now());
}

/// Writers far faster than a ring of 64 lap each other and the reader all the time: whatever is read
/// is whole, in the order of each writer, and nothing is unaccounted for.
#[test]
fn many_threads_write_while_one_reads() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 50_000;
    let recorder = Recorder::new(64);
    let begin = Barrier::new(5);
    let (mut read, mut lost, mut next) = (0, 0, 0);
    let mut newest = [None; 4];
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (recorder, begin) = (&recorder, &begin);
            scope.spawn(move || {
                begin.wait();
                for count in 0..EACH {
                    let value = writer << 24 | count;
                    recorder.record_at(value, [event(value)]);
                }
            });
        }
        begin.wait();
        while next < WRITERS * EACH {
            let page = recorder.read(next, 32);
            assert_eq!(page.first, next + page.lost);
            for record in &page.records {
                let value = record.time_ns;
                assert_eq!(record.event, event(value));
                let writer = usize::try_from(value >> 24).unwrap();
                assert!(
                    newest[writer] < Some(value),
                    "a writer's events are in its order"
                );
                newest[writer] = Some(value);
            }
            read += page.records.len() as u64;
            lost += page.lost;
            next = page.next();
        }
    });
    assert_eq!(read + lost, WRITERS * EACH);
    assert!(read > 0);
}

#[test]
fn an_interrupt_records_what_it_does() {
    let interrupt = Interrupt::new().unwrap();
    let recorder = std::sync::Arc::new(Recorder::new(16));
    interrupt.raise_used(1); // not recorded: there is no recorder yet
    assert!(interrupt.record_to(std::sync::Arc::clone(&recorder)));
    assert!(!interrupt.record_to(std::sync::Arc::clone(&recorder)));
    interrupt.raise_used(3);
    interrupt.count_suppressed(2);
    interrupt.acknowledge(INTERRUPT_USED_BUFFER);
    interrupt.set_fault("broken");
    interrupt.reset();
    interrupt.set_level(4);
    interrupt.set_level(4 | 1); // changes nothing outside
    interrupt.set_level(0);
    let page = recorder.read(0, 16);
    let seen = page.records.iter().map(|record| {
        let event = record.event;
        (event.kind, event.detail, event.queue, event.value)
    });
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            (EventKind::Interrupt, 1, 3, 0),
            (EventKind::InterruptSuppressed, 0, 2, 0),
            (EventKind::Acknowledge, 0, 0, 1),
            (EventKind::Fault, 0, 0, 0),
            (EventKind::Interrupt, 2, 0, 0),
            (EventKind::Reset, 0, 0, 0),
            (EventKind::Level, 1, 0, 4),
            (EventKind::Level, 0, 0, 0),
        ]
    );
    assert_eq!(page.notes, [(3, "broken".to_owned())]);
}
