//! What a block read of 4 KiB costs the device side of our ring: pop, parse, copy, push.
//!
//! A batch is taken from the ring and parsed, the blocks are copied from a disk in memory, status
//! bytes are written, and the requests are given back. The driver side is here too; it is not timed.
//! For each line `SECONDS` of standard input it prints `{"ns": CPU TIME OF A REQUEST}`. The benchmark
//! suite runs it beside `tests/bench/suite/floors/ring.c`, which does the same without a check.

#![allow(
    clippy::cast_precision_loss,
    reason = "times and counts are far below 2^52"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::io::{BufRead, stdin};
use std::time::{Duration, Instant};

use common::{BASE, FEATURES, guest_ram, header};
use virtmesh_blk::RangeLimits;
use virtmesh_blk::parse::RequestLimits;
use virtmesh_blk::request::{Operation, Request, Status, Used};
use virtmesh_blk::spec::VIRTIO_BLK_T_IN;
use virtmesh_ring::{Chain, DeviceQueue, DriverQueue, GuestRam, QueueConfig, Segment};

const QUEUE_SIZE: u16 = 256;
const BATCH: u64 = 32;
const BLOCK: u32 = 4096;
const BLOCKS: u64 = 16 << 10;
const RAM: u64 = 1 << 20;
const HEADERS: u64 = BASE + 0x1_0000;
const STATUSES: u64 = BASE + 0x2_0000;
const DATA: u64 = BASE + 0x4_0000;
const CONFIG: QueueConfig = QueueConfig {
    size: QUEUE_SIZE,
    descriptor_area: BASE,
    driver_area: BASE + 0x2000,
    device_area: BASE + 0x3000,
    event_idx: true,
    indirect: false,
    packed: false,
    state: None,
};
const LIMITS: RequestLimits = RequestLimits {
    features: FEATURES,
    capacity: BLOCKS * (BLOCK as u64 / 512),
    read_only: false,
    seg_max: 126,
    size_max: 1 << 20,
    discard: RANGES,
    write_zeroes: RANGES,
};
const RANGES: RangeLimits = RangeLimits {
    max_sectors: 1024,
    max_seg: 4,
};

/// Aligned as the pages of a page cache are.
#[repr(align(4096))]
struct Page([u8; BLOCK as usize]);

/// CPU time of this thread in nanoseconds: time in which others run is not in it.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes the timespec, which outlives it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every thread has this clock");
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The device side.
struct Device {
    queue: DeviceQueue,
    memory: GuestRam,
    disk: Vec<Page>,
    /// Buffers that are used again.
    chains: Vec<Chain>,
    requests: Vec<Request>,
    used: Vec<Used>,
}

impl Device {
    /// Serve all that is available, step by step as the thread of a queue does. Returns whether the driver
    /// wants an interrupt.
    fn serve(&mut self) -> Result<bool, Box<dyn Error>> {
        self.queue
            .pop_batch(usize::from(QUEUE_SIZE), &mut self.chains)?;
        for chain in &self.chains {
            self.requests
                .push(Request::parse(chain, &self.memory, &LIMITS)?);
        }
        self.chains.clear();
        for request in &self.requests {
            let Operation::Read { offset } = request.operation else {
                return Err(format!("not a read: {:?}", request.operation).into());
            };
            let target = request.writable();
            let [piece] = target.pieces() else {
                return Err("the buffer is not in one piece".into());
            };
            let page = &self.disk[usize::try_from(offset)? / BLOCK as usize].0[..piece.iov_len];
            // SAFETY: a piece is mapped, and as long as it says, while its request lives; nobody else
            // uses this memory, and it is not the disk's.
            unsafe {
                let target = piece.iov_base.cast::<u8>();
                std::ptr::copy_nonoverlapping(page.as_ptr(), target, page.len());
            }
            self.used.push(request.complete(Status::Ok));
        }
        self.queue.push_batch(&self.used)?;
        self.used.clear();
        self.requests.clear();
        Ok(self.queue.needs_interrupt())
    }
}

/// Add a batch of reads; `number` counts them.
fn add(
    driver: &mut DriverQueue,
    memory: &GuestRam,
    number: &mut u64,
) -> Result<(), Box<dyn Error>> {
    for slot in 0..BATCH {
        let block = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BLOCKS;
        *number += 1;
        let address = HEADERS + 16 * slot;
        memory.write(
            address,
            &header(VIRTIO_BLK_T_IN, block * u64::from(BLOCK / 512)),
        )?;
        let readable = [Segment {
            addr: address,
            len: 16,
        }];
        let writable = [
            Segment {
                addr: DATA + u64::from(BLOCK) * slot,
                len: BLOCK,
            },
            Segment {
                addr: STATUSES + slot,
                len: 1,
            },
        ];
        driver
            .add(&readable, &writable)?
            .ok_or("the queue is full")?;
    }
    driver.should_notify();
    Ok(())
}

/// Nanoseconds of a request.
fn measure(
    driver: &mut DriverQueue,
    device: &mut Device,
    duration: Duration,
    number: &mut u64,
) -> Result<f64, Box<dyn Error>> {
    let (mut inside, mut batches) = (0.0, 0_u64);
    let begin = Instant::now();
    loop {
        let memory = device.memory.clone();
        add(driver, &memory, number)?;
        let start = cpu_ns();
        device.serve()?;
        inside += cpu_ns() - start;
        batches += 1;
        let mut done = 0;
        while driver.pop_used()?.is_some() {
            done += 1;
        }
        if done != BATCH {
            return Err(format!("{done} of {BATCH} requests came back").into());
        }
        if begin.elapsed() >= duration {
            return Ok(inside / (batches * BATCH) as f64);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let memory = guest_ram(RAM);
    let mut driver = DriverQueue::new(memory.clone(), CONFIG, None, 0)?;
    let mut device = Device {
        queue: DeviceQueue::new(memory.clone(), CONFIG)?,
        memory,
        disk: (0..BLOCKS).map(|_| Page([0xA5; BLOCK as usize])).collect(),
        chains: Vec::new(),
        requests: Vec::new(),
        used: Vec::new(),
    };
    let mut number = 0;
    for line in stdin().lock().lines() {
        let duration = Duration::try_from_secs_f64(line?.trim().parse()?)?;
        let ns = measure(&mut driver, &mut device, duration, &mut number)?;
        println!("{{\"ns\": {ns:.2}}}");
    }
    Ok(())
}
