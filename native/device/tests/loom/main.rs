//! The recorder, checked by loom: every order in which threads can run, and every value that the
//! memory model lets a load see.
//!
//! Run with `RUSTFLAGS='--cfg loom' cargo test -p virtmesh-device --release --test loom`. Without
//! `--cfg loom` there is nothing here.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use virtmesh_device::{EventKind, Page, Recorder, TraceEvent};

/// An event all of whose words say who wrote it.
fn write(recorder: &Recorder, mark: u32) {
    let event = TraceEvent {
        token: mark,
        value: mark.into(),
        extra: mark.into(),
        ..TraceEvent::new(EventKind::Push)
    };
    recorder.record_at(mark.into(), [event]);
}

/// Every event of a page is whole: one writer wrote all of it.
fn check_whole(page: &Page) {
    for record in &page.records {
        let mark = u64::from(record.event.token);
        let words = [record.time_ns, record.event.value, record.event.extra];
        assert_eq!(words, [mark; 3], "torn");
    }
}

/// Check a model with at most `preemptions` switches away from a thread that could go on.
fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(check);
}

/// A reader copies a slot while it is written again.
#[test]
fn a_reader_gets_no_torn_event() {
    model(4, || {
        let recorder = Arc::new(Recorder::new(1));
        write(&recorder, 1);
        let writer = {
            let recorder = Arc::clone(&recorder);
            thread::spawn(move || write(&recorder, 2))
        };
        let page = recorder.read(0, 2);
        check_whole(&page);
        assert!(page.records.len() <= 1 && page.next() <= 2);
        writer.join().unwrap();
        let page = recorder.read(0, 2);
        assert_eq!((page.first, page.lost, page.records.len()), (1, 1, 1));
        check_whole(&page);
    });
}

/// Two writers whose numbers share a slot: what is left is the event of one of them, and a reader
/// gets to the end whichever gave up.
#[test]
fn writers_of_one_slot_leave_one_whole_event_or_give_up() {
    model(3, || {
        let recorder = Arc::new(Recorder::new(1));
        let writers = [1, 2].map(|mark| {
            let recorder = Arc::clone(&recorder);
            thread::spawn(move || write(&recorder, mark))
        });
        check_whole(&recorder.read(0, 2));
        for writer in writers {
            writer.join().unwrap();
        }
        let page = recorder.read(0, 2);
        check_whole(&page);
        assert_eq!(
            page.lost + page.records.len() as u64,
            2,
            "nothing is pending"
        );
    });
}

/// A reader that pages while another thread writes loses no event that is still there, and counts
/// those that are not.
#[test]
fn pages_and_losses_add_up() {
    model(3, || {
        let recorder = Arc::new(Recorder::new(2));
        let writer = {
            let recorder = Arc::clone(&recorder);
            thread::spawn(move || (1..=3).for_each(|mark| write(&recorder, mark)))
        };
        let first = recorder.read(0, 4);
        check_whole(&first);
        writer.join().unwrap();
        let second = recorder.read(first.next(), 4);
        check_whole(&second);
        let counted =
            first.lost + second.lost + (first.records.len() + second.records.len()) as u64;
        assert_eq!((second.next(), counted), (3, 3));
        let marks = first.records.iter().chain(&second.records);
        assert!(marks.map(|record| record.time_ns).is_sorted());
    });
}
