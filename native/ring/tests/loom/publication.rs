//! What one side publishes is seen whole and in order by the other.

use loom::sync::mpsc;
use loom::thread;
use virtmesh_ring::Segment;

use crate::memory::BUFFERS;
use crate::{Format, PACKED, SPLIT, ask, buffer, hear, models, queue, serve};

/// Descriptors, entries and buffers are seen whole by the side they are published to.
fn what_is_published_is_seen_whole(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(2, format);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            serve(&theirs, &mut device);
            serve(&theirs, &mut device);
            device
        });
        ask(&memory, &mut driver, 0, 1);
        ask(&memory, &mut driver, 1, 2);
        let mut heard = u8::from(hear(&memory, &mut driver, 0, 1));
        let mut device = peer.join().unwrap();
        while serve(&memory, &mut device) {}
        while heard < 2 {
            assert!(hear(&memory, &mut driver, heard, heard + 1));
            heard += 1;
        }
    });
}

/// A descriptor, an entry and a buffer that are used again are not seen as they were before.
fn what_is_reused_is_not_seen_stale(format: Format) {
    loom::model(move || {
        let (memory, mut driver, mut device) = queue(1, format);
        ask(&memory, &mut driver, 0, 1);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            serve(&theirs, &mut device);
            serve(&theirs, &mut device);
            device
        });
        let mut question = 1;
        for _ in 0..2 {
            if hear(&memory, &mut driver, 0, question) {
                question += 1;
                ask(&memory, &mut driver, 0, question);
            }
        }
        let mut device = peer.join().unwrap();
        serve(&memory, &mut device);
        assert!(hear(&memory, &mut driver, 0, question));
    });
}

/// The halves of a device on two threads never mistake an honest driver's reuse of a head for an offer
/// of a chain that they hold.
fn halves_agree_on_what_they_hold(format: Format) {
    loom::model(move || {
        let (memory, mut driver, device) = queue(1, format);
        let (mut consumer, mut producer) = device.split();
        ask(&memory, &mut driver, 0, 1);
        let (sender, receiver) = mpsc::channel();
        let popping = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(chain) = consumer.pop().unwrap() {
                    sender.send(Some(chain)).unwrap();
                }
            }
            sender.send(None).unwrap();
        });
        let theirs = memory.clone();
        let pushing = thread::spawn(move || {
            while let Some(chain) = receiver.recv().unwrap() {
                let address = chain.writable[0].addr;
                theirs.set(address, theirs.get(address) + 100);
                producer.push(chain.head, 1).unwrap();
            }
        });
        if hear(&memory, &mut driver, 0, 1) {
            ask(&memory, &mut driver, 0, 2);
        }
        popping.join().unwrap();
        pushing.join().unwrap();
    });
}

/// A chain of two, whose second descriptor is in the next lap, is seen whole; and so is what the
/// device writes over it.
#[test]
fn packed_chain_that_wraps_around_is_seen_whole() {
    loom::model(|| {
        let (memory, mut driver, mut device) = queue(2, PACKED);
        ask(&memory, &mut driver, 0, 1);
        assert!(serve(&memory, &mut device));
        assert!(hear(&memory, &mut driver, 0, 1));
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            let chain = device.pop().unwrap();
            if let Some(chain) = &chain {
                let [question, answer] = [chain.readable[0].addr, chain.writable[0].addr];
                theirs.set(answer, theirs.get(question) + 100);
                device.push(chain.head, 1).unwrap();
            }
            (device, chain.is_some())
        });
        memory.set(BUFFERS, 7);
        driver.add(&[buffer(0)], &[buffer(1)]).unwrap().unwrap();
        let heard = hear(&memory, &mut driver, 1, 7);
        let (_, served) = peer.join().unwrap();
        assert!(heard || !served || hear(&memory, &mut driver, 1, 7));
    });
}

/// A batch is seen from its first chain on, though its words are written in another order.
#[test]
fn packed_batches_are_seen_in_order() {
    loom::model(|| {
        let (memory, mut driver, mut device) = queue(2, PACKED);
        let theirs = memory.clone();
        let peer = thread::spawn(move || {
            let mut chains = Vec::new();
            device.pop_batch(2, &mut chains).unwrap();
            let used: Vec<_> = chains.iter().map(|chain| (chain.head, 1)).collect();
            for chain in &chains {
                let address = chain.writable[0].addr;
                theirs.set(address, theirs.get(address) + 100);
            }
            device.push_batch(&used).unwrap();
            used.len()
        });
        let buffers = [buffer(0), buffer(1)];
        memory.set(BUFFERS, 0);
        memory.set(BUFFERS + 1, 1);
        let batch: Vec<(&[Segment], &[Segment])> =
            buffers.chunks(1).map(|chain| (&[][..], chain)).collect();
        driver.add_batch(batch, &mut Vec::new()).unwrap();
        let mut heard = 0;
        while hear(&memory, &mut driver, heard, heard) {
            heard += 1;
        }
        let served = peer.join().unwrap();
        while hear(&memory, &mut driver, heard, heard) {
            heard += 1;
        }
        assert_eq!(usize::from(heard), served);
    });
}

models!(what_is_published_is_seen_whole:
    what_is_published_in_a_split_ring_is_seen_whole SPLIT,
    what_is_published_in_a_packed_ring_is_seen_whole PACKED,
);
models!(what_is_reused_is_not_seen_stale:
    what_is_reused_in_a_split_ring_is_not_seen_stale SPLIT,
    what_is_reused_in_a_packed_ring_is_not_seen_stale PACKED,
);
models!(halves_agree_on_what_they_hold:
    halves_of_a_split_ring_agree_on_what_they_hold SPLIT,
    halves_of_a_packed_ring_agree_on_what_they_hold PACKED,
);
