//! What a request costs in the ring, next to rust-vmm's `virtio-queue` in the same run.
//!
//! Run: `cargo run --release -p virtmesh-ring --example ring_bench`
//!
//! A request is a block read: 16 bytes to read, 4096 and 1 to write. One thread plays both sides, so that
//! no time goes into waking a CPU. The driver side is ours in all rows; the rows take turns in every
//! round, so that a drifting clock hits all alike. The ratios: the split ring to `virtio-queue`, the packed
//! ring to the split one, and either with its in-flight log to the same without.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd};
use std::time::Instant;

use virtio_queue::{Queue, QueueT};
use virtmesh_ring::{
    DeviceQueue, DriverQueue, GuestRam, LogRegion, QueueConfig, RegionSpec, Segment,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

const BASE: u64 = 0x8000_0000;
const SIZE: u64 = 1 << 20;
const LOG: u64 = BASE + 0x4_0000;
const DATA: u64 = BASE + 0x8_0000;
const QUEUE_SIZE: u16 = 256;
const INDIRECT_ENTRIES: u16 = 8;
const REQUESTS: u32 = 5_000;
const ROUNDS: usize = 101;
const BATCH: u32 = 16;

type Failure = Box<dyn std::error::Error>;

fn guest_ram() -> Result<GuestRam, Failure> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a NUL-terminated string, which the call copies.
    let fd = unsafe { libc::memfd_create(c"ring-bench".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the call above made the descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(SIZE)?;
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of this process.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    let region = RegionSpec {
        fd: file.as_fd(),
        guest_address: BASE,
        size: SIZE,
        file_offset: 0,
    };
    Ok(GuestRam::map(&[region])?)
}

/// Either device side. Takes all that is available and gives it back; returns the bytes it could write.
trait Device {
    fn serve(&mut self) -> Result<u64, Failure>;
}

struct Ours {
    queue: DeviceQueue,
    used: Vec<(u16, u32)>,
}

impl Device for Ours {
    fn serve(&mut self) -> Result<u64, Failure> {
        let mut bytes = 0;
        while let Some(chain) = self.queue.pop()? {
            bytes += chain
                .writable
                .iter()
                .map(|segment| u64::from(segment.len))
                .sum::<u64>();
            self.used.push((chain.head, 1));
        }
        self.queue.push_batch(&self.used)?;
        self.used.clear();
        self.queue.needs_interrupt();
        Ok(bytes)
    }
}

struct Theirs {
    queue: Queue,
    memory: GuestMemoryMmap,
}

impl Device for Theirs {
    fn serve(&mut self) -> Result<u64, Failure> {
        let mut bytes = 0;
        while let Some(chain) = self.queue.pop_descriptor_chain(&self.memory) {
            let head = chain.head_index();
            let writable = chain.writable();
            bytes += writable
                .map(|descriptor| u64::from(descriptor.len()))
                .sum::<u64>();
            self.queue.add_used(&self.memory, head, 1)?;
        }
        self.queue.needs_notification(&self.memory)?;
        Ok(bytes)
    }
}

/// Nanoseconds per request, `batch` requests at a time.
fn measure(driver: &mut DriverQueue, device: &mut dyn Device, batch: u32) -> Result<f64, Failure> {
    let segment = |offset, len| Segment {
        addr: DATA + offset,
        len,
    };
    let readable = [segment(0, 16)];
    let writable = [segment(4096, 4096), segment(16, 1)];
    let start = Instant::now();
    for _ in 0..REQUESTS / batch {
        for _ in 0..batch {
            driver
                .add(&readable, &writable)?
                .ok_or("the queue is full")?;
        }
        driver.should_notify();
        if device.serve()? != u64::from(batch) * 4097 {
            return Err("the device saw other chains".into());
        }
        while driver.pop_used()?.is_some() {}
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS / batch * batch))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The median of the rounds' ratios: what slows a whole round down is not in it.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let rounds = ours.iter().zip(theirs);
    median(rounds.map(|(ours, theirs)| ours / theirs).collect())
}

/// Our rows of the table, in its order.
#[derive(Clone, Copy)]
struct Row {
    packed: bool,
    logged: bool,
}

const SPLIT: Row = Row {
    packed: false,
    logged: false,
};
const PACKED: Row = Row {
    packed: true,
    logged: false,
};
const ROWS: [Row; 4] = [
    SPLIT,
    PACKED,
    Row {
        logged: true,
        ..SPLIT
    },
    Row {
        logged: true,
        ..PACKED
    },
];

fn our_queue(memory: &GuestRam, config: QueueConfig, logged: bool) -> Result<DeviceQueue, Failure> {
    let log = LogRegion {
        memory: memory.clone(),
        address: LOG,
        capacity: config.size,
    };
    log.forget()?;
    let log = logged.then_some(&log);
    Ok(DeviceQueue::with_log(memory.clone(), config, log)?)
}

fn main() -> Result<(), Failure> {
    println!("ns per request (driver and device side), medians of {ROUNDS} interleaved rounds");
    println!(
        "{:<14} {:>7} {:>13} {:>7} {:>8} {:>13} {:>10} {:>11}",
        "chains, batch",
        "split",
        "virtio-queue",
        "ratio",
        "packed",
        "packed/split",
        "split log",
        "packed log"
    );
    for (name, indirect, batch) in [
        ("direct, 1", false, 1),
        ("direct, 16", false, BATCH),
        ("indirect, 1", true, 1),
        ("indirect, 16", true, BATCH),
    ] {
        let memory = guest_ram()?;
        let config = QueueConfig {
            size: QUEUE_SIZE,
            descriptor_area: BASE,
            driver_area: BASE + 0x2000,
            device_area: BASE + 0x3000,
            event_idx: true,
            indirect,
            packed: false,
            state: None,
        };
        let tables = indirect.then_some(BASE + 0x1_0000);
        let mut ours = [const { Vec::new() }; ROWS.len()];
        let mut theirs = Vec::new();
        for _ in 0..ROUNDS {
            for (Row { packed, logged }, samples) in ROWS.into_iter().zip(&mut ours) {
                let config = QueueConfig { packed, ..config };
                let mut driver =
                    DriverQueue::new(memory.clone(), config, tables, INDIRECT_ENTRIES)?;
                let mut device = Ours {
                    queue: our_queue(&memory, config, logged)?,
                    used: Vec::new(),
                };
                samples.push(measure(&mut driver, &mut device, batch)?);
            }

            let mut driver = DriverQueue::new(memory.clone(), config, tables, INDIRECT_ENTRIES)?;
            let mut device = Theirs {
                queue: their_queue(&config)?,
                memory: memory.as_vm_memory().clone(),
            };
            theirs.push(measure(&mut driver, &mut device, batch)?);
        }
        let [split, packed, split_log, packed_log] = &ours;
        println!(
            "{name:<14} {:>7.0} {:>13.0} {:>7.2} {:>8.0} {:>13.2} {:>10.2} {:>11.2}",
            median(split.clone()),
            median(theirs.clone()),
            ratio(split, &theirs),
            median(packed.clone()),
            ratio(packed, split),
            ratio(split_log, split),
            ratio(packed_log, packed),
        );
    }
    Ok(())
}

fn their_queue(config: &QueueConfig) -> Result<Queue, Failure> {
    let mut queue = Queue::new(config.size)?;
    queue.try_set_desc_table_address(GuestAddress(config.descriptor_area))?;
    queue.try_set_avail_ring_address(GuestAddress(config.driver_area))?;
    queue.try_set_used_ring_address(GuestAddress(config.device_area))?;
    queue.set_event_idx(config.event_idx);
    queue.set_ready(true);
    Ok(queue)
}
