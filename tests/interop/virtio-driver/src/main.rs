//! Drives a disk over vhost-user by the crate `virtio-driver`, several requests at a time, and
//! compares what it reads with what it wrote.
//!
//! Usage: `virtmesh-interop SOCKET split|packed`; the disk has 8 MiB or more, its contents are lost.

use std::env;
use std::error::Error;
use std::fs::File;
use std::os::fd::AsRawFd;

use memmap2::MmapMut;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::{memfd_create, MemfdFlags};
use virtio_driver::{VhostUser, VirtioBlkQueue, VirtioBlkTransport, VirtioFeatureFlags};

const QUEUE_SIZE: u16 = 64;
const REQUESTS: usize = 16;
const BLOCK: usize = 16 << 10;
const TOTAL: usize = REQUESTS * BLOCK;
/// Longest time without a completion, in milliseconds.
const PATIENCE_MS: i32 = 30_000;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Queue = VirtioBlkQueue<'static, usize>;

/// A disk with one queue; `memory` is what it reads from and writes to.
struct Disk {
    transport: Box<VirtioBlkTransport>,
    queue: Queue,
    memory: MmapMut,
}

impl Disk {
    /// Connect, with split or packed rings.
    fn connect(path: &str, packed: bool) -> Outcome<Self> {
        let rings = VirtioFeatureFlags::RING_PACKED;
        let wanted = VirtioFeatureFlags::VERSION_1
            | VirtioFeatureFlags::RING_INDIRECT_DESC
            | VirtioFeatureFlags::RING_EVENT_IDX
            | if packed {
                rings
            } else {
                VirtioFeatureFlags::empty()
            };
        // Flush, discard, write-zeroes (virtio 1.4, 5.2.3).
        let wanted = wanted.bits() | 1 << 9 | 1 << 13 | 1 << 14;
        let mut transport: Box<VirtioBlkTransport> = Box::new(VhostUser::new(path, wanted)?);
        let agreed = VirtioFeatureFlags::from_bits_truncate(transport.get_features());
        if agreed.contains(rings) != packed {
            return Err(format!("packed rings: wanted {packed}, agreed on {agreed:?}").into());
        }
        let mut queues = VirtioBlkQueue::setup_queues(&mut *transport, 1, QUEUE_SIZE)?;
        let mut queue = queues.remove(0);
        // Without it the crate asks for no interrupts.
        queue.set_used_notif_enabled(true);
        let file: File = memfd_create("buffers", MemfdFlags::CLOEXEC)?.into();
        file.set_len(TOTAL as u64)?;
        // SAFETY: nothing but the device, which this program waits for, changes the memfd.
        let memory = unsafe { MmapMut::map_mut(&file)? };
        transport.map_mem_region(memory.as_ptr() as usize, TOTAL, file.as_raw_fd(), 0)?;
        Ok(Self {
            transport,
            queue,
            memory,
        })
    }

    /// Queue requests by `add`, numbered from 0, ring once, and wait for all: each must succeed.
    fn run<F>(&mut self, count: usize, mut add: F) -> Outcome<()>
    where
        F: FnMut(&mut Queue, &mut [u8], usize) -> std::io::Result<()>,
    {
        for number in 0..count {
            let begin = number * BLOCK;
            add(
                &mut self.queue,
                &mut self.memory[begin..begin + BLOCK],
                number,
            )?;
        }
        self.transport.get_submission_notifier(0).notify()?;
        let completed = self.transport.get_completion_fd(0);
        let mut seen = vec![false; count];
        while seen.contains(&false) {
            let mut waiting = [PollFd::new(&*completed, PollFlags::IN)];
            if poll(&mut waiting, PATIENCE_MS)? == 0 {
                return Err(format!("no completion in {PATIENCE_MS} ms: {seen:?}").into());
            }
            completed.read()?;
            for completion in self.queue.completions() {
                let number = completion.context;
                if completion.ret != 0 || seen[number] {
                    let again = seen[number];
                    let ret = completion.ret;
                    return Err(format!("request {number}: {ret}, seen before: {again}").into());
                }
                seen[number] = true;
            }
        }
        Ok(())
    }

    /// Read the first blocks into memory that held something else.
    fn read(&mut self) -> Outcome<()> {
        self.memory.fill(0xEE);
        self.run(REQUESTS, |queue, buffer, number| {
            queue.read(offset(number), buffer, number)
        })
    }

    /// Compare a block that was read.
    fn check(&self, number: usize, expected: impl Fn(usize) -> u8, what: &str) -> Outcome<()> {
        let begin = number * BLOCK;
        let block = &self.memory[begin..begin + BLOCK];
        match block
            .iter()
            .enumerate()
            .find(|(at, byte)| **byte != expected(begin + at))
        {
            None => Ok(()),
            Some((at, byte)) => {
                Err(format!("{what}: byte {at} of block {number} is {byte:#04x}").into())
            }
        }
    }
}

/// Where a block is on the disk, in bytes.
fn offset(number: usize) -> u64 {
    (number * BLOCK) as u64
}

/// A byte of the pattern.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 14)).to_le_bytes()[0]
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (path, packed) = match arguments.as_slice() {
        [path, kind] if kind == "split" => (path, false),
        [path, kind] if kind == "packed" => (path, true),
        _ => return Err("usage: virtmesh-interop SOCKET split|packed".into()),
    };
    let mut disk = Disk::connect(path, packed)?;

    for (at, byte) in disk.memory.iter_mut().enumerate() {
        *byte = pattern(at);
    }
    disk.run(REQUESTS, |queue, buffer, number| {
        queue.write(offset(number), buffer, number)
    })?;
    disk.run(1, |queue, _, number| queue.flush(number))?;
    disk.read()?;
    for number in 0..REQUESTS {
        disk.check(number, pattern, "written and read")?;
    }

    // Every second block, at once.
    disk.run(REQUESTS / 2, |queue, _, number| {
        queue.write_zeroes(offset(2 * number), BLOCK as u64, number % 2 == 0, number)
    })?;
    disk.read()?;
    for number in 0..REQUESTS {
        let zeroed = number % 2 == 0;
        disk.check(number, |at| if zeroed { 0 } else { pattern(at) }, "zeroed")?;
    }

    disk.run(1, |queue, _, number| queue.discard(0, TOTAL as u64, number))?;
    println!("wrote, flushed, read, zeroed and discarded {TOTAL} bytes");
    Ok(())
}
