//! A driver and a device that check each other's bytes, and sleep on real eventfds.
//!
//! A chain carries a seed and bytes derived from it, in buffers of random sizes. The device checks them
//! and answers with bytes derived from the seed; the driver checks those. A stale or torn byte, a lost
//! chain and a lost wakeup each fail the test, the last by the time limit of every sleep.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use virtmesh_ring::{AvailConsumer, Chain, DriverQueue, GuestRam, Segment, UsedProducer};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::common::Rig;

/// How long a sleeper waits before it calls a wakeup lost.
const LIMIT: Duration = Duration::from_secs(30);
/// Data bytes of each chain.
const SLOT: u64 = 4096;
/// Bytes of the seed, at the start of each chain.
const SEED: u32 = 8;

/// Random numbers (xorshift64), so that a failure comes again.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).unwrap()
    }
}

fn fill(seed: u64, bytes: &mut [u8]) {
    let mut random = Random(seed | 1);
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
}

/// A doorbell of the test.
pub struct Bell(EventFd);

impl Bell {
    pub fn new() -> Self {
        Self(EventFd::new(EFD_NONBLOCK).unwrap())
    }

    pub fn from_fd(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is open, and its ownership moves here.
        Self(unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) })
    }

    pub fn ring(&self) {
        self.0.write(1).unwrap();
    }

    /// Sleep until it rings.
    fn wait(&self, who: &str) {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let limit = i32::try_from(LIMIT.as_millis()).unwrap();
        // SAFETY: `poll` is one pollfd and lives across the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
        assert_eq!(ready, 1, "the {who} missed a wakeup");
        self.0.read().unwrap();
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// The driver's side of the game.
pub struct DriverPeer<'bells> {
    pub rig: Rig,
    pub queue: DriverQueue,
    pub kick: &'bells Bell,
    pub call: &'bells Bell,
    pub random: Random,
}

impl DriverPeer<'_> {
    /// Run `chains` chains through the queue; returns how often the driver slept.
    pub fn run(&mut self, chains: u64) -> u64 {
        let (mut added, mut taken, mut sleeps) = (0, 0, 0);
        let slots = self.rig.config.size;
        let mut free: Vec<u16> = (0..slots).collect();
        // By head: the slot of its data, its seed, and the length of its answer.
        let mut in_flight = vec![None; slots.into()];
        while taken < chains {
            self.queue.disable_interrupts();
            let burst = u64::from(1 + self.random.below(16)).min(chains - added);
            let before = added;
            while added - before < burst {
                let Some(slot) = free.pop() else { break };
                let seed = self.random.next();
                let Some((head, answer)) = self.add(slot, seed) else {
                    free.push(slot);
                    break;
                };
                in_flight[usize::from(head)] = Some((slot, seed, answer));
                added += 1;
            }
            let blocked = added - before < burst || added == chains;
            if self.queue.should_notify() {
                self.kick.ring();
            }
            let before = taken;
            while let Some((head, written)) = self.queue.pop_used().unwrap() {
                let (slot, seed, answer) = in_flight[usize::from(head)].take().unwrap();
                assert_eq!(written, answer);
                self.check_answer(slot, seed, answer);
                free.push(slot);
                taken += 1;
            }
            if blocked && taken == before && !self.queue.enable_interrupts() {
                self.call.wait("driver");
                sleeps += 1;
            }
        }
        sleeps
    }

    /// Add a chain of random shape; returns its head and the length of the answer it asks for.
    fn add(&mut self, slot: u16, seed: u64) -> Option<(u16, u32)> {
        let start = u64::from(slot) * SLOT;
        let (question, answer) = (SEED + self.random.below(1000), 1 + self.random.below(1000));
        let mut bytes = vec![0; question as usize];
        fill(seed, &mut bytes[SEED as usize..]);
        bytes[..SEED as usize].copy_from_slice(&seed.to_le_bytes());
        self.rig
            .memory
            .write(self.rig.data + start, &bytes)
            .unwrap();
        let readable = self.cut(start, question);
        let writable = self.cut(start + SLOT / 2, answer);
        let head = self.queue.add(&readable, &writable).unwrap()?;
        Some((head, answer))
    }

    /// Cut a stretch into one to three segments.
    fn cut(&mut self, start: u64, length: u32) -> Vec<Segment> {
        let mut cuts = [
            self.random.below(length + 1),
            self.random.below(length + 1),
            length,
        ];
        cuts.sort_unstable();
        let mut segments = Vec::new();
        let mut from = 0;
        for to in cuts {
            if to > from {
                segments.push(self.rig.segment(start + u64::from(from), to - from));
            }
            from = to;
        }
        segments
    }

    fn check_answer(&self, slot: u16, seed: u64, answer: u32) {
        let mut expected = vec![0; answer as usize];
        fill(!seed, &mut expected);
        let mut bytes = vec![0; answer as usize];
        let start = self.rig.data + u64::from(slot) * SLOT + SLOT / 2;
        self.rig.memory.read(start, &mut bytes).unwrap();
        assert!(bytes == expected, "the answer to {seed:#x} is stale");
    }
}

/// Check a question and write its answer; returns the answer's length.
pub fn answer(memory: &GuestRam, chain: &Chain) -> u32 {
    let mut question = Vec::new();
    for segment in &chain.readable {
        let start = question.len();
        question.resize(start + segment.len as usize, 0);
        memory.read(segment.addr, &mut question[start..]).unwrap();
    }
    let (seed, rest) = question.split_at(SEED as usize);
    let seed = u64::from_le_bytes(seed.try_into().unwrap());
    let mut expected = vec![0; rest.len()];
    fill(seed, &mut expected);
    assert!(rest == expected, "the question {seed:#x} is stale");
    let length = chain.writable.iter().map(|segment| segment.len).sum();
    let mut bytes = vec![0; length as usize];
    fill(!seed, &mut bytes);
    let mut left = bytes.as_slice();
    for segment in &chain.writable {
        let (here, after) = left.split_at(segment.len as usize);
        memory.write(segment.addr, here).unwrap();
        left = after;
    }
    length
}

/// The taking half of the device: hands every chain to `serve`, sleeping when there is none, until
/// `chains` were taken. Returns how often it slept.
pub fn take_chains(
    consumer: &mut AvailConsumer,
    kick: &Bell,
    chains: usize,
    mut serve: impl FnMut(Vec<Chain>),
) -> u64 {
    let (mut taken, mut sleeps) = (0, 0);
    while taken < chains {
        consumer.disable_notifications();
        let mut batch = Vec::new();
        taken += consumer.pop_batch(16, &mut batch).unwrap();
        if !batch.is_empty() {
            serve(batch);
        } else if !consumer.enable_notifications().unwrap() {
            kick.wait("device");
            sleeps += 1;
        }
    }
    sleeps
}

/// The giving half of the device: answer a batch and interrupt if that is wanted.
pub fn give_back(producer: &mut UsedProducer, memory: &GuestRam, call: &Bell, batch: &[Chain]) {
    let used: Vec<_> = batch
        .iter()
        .map(|chain| (chain.head, answer(memory, chain)))
        .collect();
    producer.push_batch(&used).unwrap();
    if producer.needs_interrupt() {
        call.ring();
    }
}

/// Bytes of data that the game needs with a queue of this size.
pub fn data_bytes(size: u16) -> u64 {
    u64::from(size) * SLOT
}
