//! Random operations on both sides, compared with a simple reference model.

use std::collections::VecDeque;

use proptest::prelude::*;
use virtmesh_ring::{Chain, DeviceQueue, DriverQueue, Segment};

use crate::common::{INDIRECT_ENTRIES, Rig};

#[derive(Debug, Clone)]
enum Step {
    Add {
        readable: Vec<u32>,
        writable: Vec<u32>,
    },
    AddBatch {
        chains: usize,
    },
    Pop,
    PopBatch {
        max: usize,
    },
    Push {
        which: prop::sample::Index,
        written: prop::sample::Index,
    },
    PushAll,
    PopUsed,
    PopUsedBatch {
        max: usize,
    },
    EnableNotifications,
    DisableNotifications,
    EnableInterrupts,
    DisableInterrupts,
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = || prop::collection::vec(1_u32..5000, 0..6);
    prop_oneof![
        6 => (lengths(), lengths()).prop_map(|(readable, writable)| Step::Add { readable, writable }),
        1 => (1_usize..5).prop_map(|chains| Step::AddBatch { chains }),
        5 => Just(Step::Pop),
        1 => (1_usize..5).prop_map(|max| Step::PopBatch { max }),
        5 => any::<(prop::sample::Index, prop::sample::Index)>()
            .prop_map(|(which, written)| Step::Push { which, written }),
        1 => Just(Step::PushAll),
        5 => Just(Step::PopUsed),
        1 => (1_usize..5).prop_map(|max| Step::PopUsedBatch { max }),
        1 => Just(Step::EnableNotifications),
        1 => Just(Step::DisableNotifications),
        1 => Just(Step::EnableInterrupts),
        1 => Just(Step::DisableInterrupts),
    ]
}

/// Both sides of a queue, and what should be where.
struct World {
    rig: Rig,
    driver: DriverQueue,
    device: DeviceQueue,
    available: VecDeque<Chain>,
    held: Vec<Chain>,
    used: VecDeque<(u16, u32)>,
    /// Descriptors each chain in flight occupies.
    occupied: Vec<(u16, u16)>,
    /// The device found nothing, asked to be told, and was not told since.
    device_waits: bool,
    /// The same for the driver.
    driver_waits: bool,
}

impl World {
    fn new(size: u16, event_idx: bool, indirect: bool, packed: bool) -> Self {
        let rig = Rig::new(size, event_idx, indirect).packed(packed);
        let (driver, device) = (rig.driver(), rig.device());
        Self {
            rig,
            driver,
            device,
            available: VecDeque::new(),
            held: Vec::new(),
            used: VecDeque::new(),
            occupied: Vec::new(),
            device_waits: false,
            driver_waits: false,
        }
    }

    /// Move both indexes on by `chains`, to get near where they wrap.
    fn advance(&mut self, chains: u16) {
        let buffer = [self.rig.segment(0, 1)];
        for _ in 0..chains {
            let head = self.driver.add(&buffer, &[]).unwrap().unwrap();
            assert_eq!(self.device.pop().unwrap().unwrap().head, head);
            self.device.push(head, 0).unwrap();
            assert_eq!(self.driver.pop_used().unwrap(), Some((head, 0)));
        }
        self.driver.should_notify();
        self.device.needs_interrupt();
    }

    fn free(&self) -> u16 {
        let occupied: u16 = self.occupied.iter().map(|(_, count)| count).sum();
        self.rig.config.size - occupied
    }

    fn descriptors(&self, segments: usize) -> u16 {
        let indirect =
            self.rig.config.indirect && (2..=INDIRECT_ENTRIES.into()).contains(&segments);
        if indirect {
            1
        } else {
            u16::try_from(segments).unwrap()
        }
    }

    fn added(&mut self, head: u16, readable: &[Segment], writable: &[Segment]) {
        let count = self.descriptors(readable.len() + writable.len());
        assert!(
            self.occupied.iter().all(|(other, _)| *other != head),
            "token {head} given twice"
        );
        self.occupied.push((head, count));
        let (readable, writable) = (readable.into(), writable.into());
        self.available.push_back(Chain {
            head,
            readable,
            writable,
        });
    }

    fn check_notification(&mut self) {
        let told = self.driver.should_notify();
        assert!(
            told || !self.device_waits,
            "the device waits and is not told"
        );
        self.device_waits &= !told;
    }

    fn check_interrupt(&mut self) {
        let told = self.device.needs_interrupt();
        assert!(
            told || !self.driver_waits,
            "the driver waits and is not told"
        );
        self.driver_waits &= !told;
    }

    fn add(&mut self, readable: &[u32], writable: &[u32]) {
        let segment = |(index, len): (u64, &u32)| self.rig.segment(8192 * index, *len);
        let readable: Vec<_> = (0..).zip(readable).map(segment).collect();
        let writable: Vec<_> = (8..).zip(writable).map(segment).collect();
        let segments = readable.len() + writable.len();
        let outcome = self.driver.add(&readable, &writable);
        if segments == 0 || segments > self.rig.config.size.into() {
            outcome.unwrap_err();
        } else if self.descriptors(segments) > self.free() {
            assert_eq!(outcome.unwrap(), None);
        } else {
            let head = outcome.unwrap().expect("there is room");
            self.added(head, &readable, &writable);
            self.check_notification();
        }
    }

    fn add_batch(&mut self, chains: usize) {
        let buffer = [self.rig.segment(0, 7)];
        let batch: Vec<(&[Segment], &[Segment])> = vec![(&buffer, &[]); chains];
        let fits = chains.min(self.free().into());
        let mut heads = Vec::new();
        assert_eq!(self.driver.add_batch(batch, &mut heads).unwrap(), fits);
        for head in heads {
            self.added(head, &buffer, &[]);
        }
        if fits > 0 {
            self.check_notification();
        }
    }

    fn popped(&mut self, chains: Vec<Chain>) {
        for chain in chains {
            assert_eq!(Some(&chain), self.available.pop_front().as_ref());
            self.held.push(chain);
        }
    }

    fn push(&mut self, which: prop::sample::Index, written: prop::sample::Index) {
        if self.held.is_empty() {
            return;
        }
        let chain = self.held.swap_remove(which.index(self.held.len()));
        let writable: u32 = chain.writable.iter().map(|segment| segment.len).sum();
        let written = u32::try_from(written.index(writable as usize + 1)).unwrap();
        self.device.push(chain.head, written).unwrap();
        self.used.push_back((chain.head, written));
        self.check_interrupt();
    }

    fn push_all(&mut self) {
        let batch: Vec<_> = self.held.drain(..).map(|chain| (chain.head, 0)).collect();
        self.device.push_batch(&batch).unwrap();
        let pushed = !batch.is_empty();
        self.used.extend(batch);
        if pushed {
            self.check_interrupt();
        }
    }

    fn taken(&mut self, entries: Vec<(u16, u32)>) {
        for entry in entries {
            assert_eq!(Some(entry), self.used.pop_front());
            self.occupied.retain(|(head, _)| *head != entry.0);
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Add { readable, writable } => self.add(readable, writable),
            Step::AddBatch { chains } => self.add_batch(*chains),
            Step::Pop => {
                let chain = self.device.pop().unwrap();
                assert_eq!(chain.is_some(), !self.available.is_empty());
                self.popped(chain.into_iter().collect());
            }
            Step::PopBatch { max } => {
                let mut chains = Vec::new();
                let expected = self.available.len().min(*max);
                assert_eq!(self.device.pop_batch(*max, &mut chains).unwrap(), expected);
                self.popped(chains);
            }
            Step::Push { which, written } => self.push(*which, *written),
            Step::PushAll => self.push_all(),
            Step::PopUsed => {
                assert_eq!(self.driver.can_pop(), !self.used.is_empty());
                let entry = self.driver.pop_used().unwrap();
                assert_eq!(entry.is_some(), !self.used.is_empty());
                self.taken(entry.into_iter().collect());
            }
            Step::PopUsedBatch { max } => {
                let mut entries = Vec::new();
                let expected = self.used.len().min(*max);
                assert_eq!(
                    self.driver.pop_used_batch(*max, &mut entries).unwrap(),
                    expected
                );
                self.taken(entries);
            }
            Step::EnableNotifications => {
                let waiting = self.device.enable_notifications().unwrap();
                assert_eq!(waiting, !self.available.is_empty());
                self.device_waits = !waiting;
            }
            Step::DisableNotifications => {
                self.device.disable_notifications();
                self.device_waits = false;
            }
            Step::EnableInterrupts => {
                let waiting = self.driver.enable_interrupts();
                assert_eq!(waiting, !self.used.is_empty());
                self.driver_waits = !waiting;
            }
            Step::DisableInterrupts => {
                self.driver.disable_interrupts();
                self.driver_waits = false;
            }
        }
        assert_eq!(self.driver.free(), self.free());
        assert_eq!(usize::from(self.driver.in_flight()), self.occupied.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rings_do_what_the_model_does(
        log_size in 0_u32..6,
        event_idx: bool,
        indirect: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(1 << log_size, event_idx, indirect, false);
        for step in &steps {
            world.run(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rings_do_what_the_model_does_where_indexes_wrap(
        log_size in 0_u32..6,
        event_idx: bool,
        indirect: bool,
        before in 0_u16..40,
        steps in prop::collection::vec(step(), 200..400),
    ) {
        let mut world = World::new(1 << log_size, event_idx, indirect, false);
        world.advance(u16::MAX - before);
        for step in &steps {
            world.run(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The model is the same: whatever a program does, both kinds of ring show it alike.
    #[test]
    fn packed_rings_do_what_the_model_does(
        size in 1_u16..40,
        event_idx: bool,
        indirect: bool,
        before in 0_u16..100,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new(size, event_idx, indirect, true);
        world.advance(before);
        for step in &steps {
            world.run(step);
        }
    }
}

/// Chains of all lengths that fit, several laps of them, end where they have to.
#[test]
fn packed_rings_of_any_size_wrap_around() {
    let sizes = (1..=67).chain([255, 256, 257, 1000, 4095, 32767, 32768]);
    for size in sizes {
        let mut world = World::new(size, true, false, true);
        let (mut length, mut entries) = (1, 0);
        while entries < 5 * u32::from(size) {
            let lengths = vec![1; usize::from(length)];
            world.run(&Step::Add {
                readable: Vec::new(),
                writable: lengths,
            });
            world.run(&Step::PopBatch { max: 9 });
            world.run(&Step::PushAll);
            world.run(&Step::PopUsedBatch { max: 9 });
            entries += u32::from(length);
            length = 1 + (length * 7 + 3) % size.min(100);
        }
        assert_eq!(world.driver.in_flight(), 0);
    }
}
