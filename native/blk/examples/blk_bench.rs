//! What a request costs through ring, worker and engine, against the bare system call, and with a
//! flight recorder against none, in one interleaved run: `cargo run --release --example blk_bench`.
//!
//! Driver and device are two threads of one process; the image is in the page cache. Medians of the
//! rounds; only ratios within one run mean anything.

#![allow(
    clippy::cast_precision_loss,
    reason = "times and counts are far below 2^52"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use common::{BASE, Driver, PATIENCE, Rig, Shape, header};
use virtmesh_blk::spec::{VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtmesh_device::{Interrupt, Kick, Recorder};
use virtmesh_ring::DriverQueue;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 16 << 10;
const REQUESTS: u64 = 1000;
const ROUNDS: usize = 161;
/// Events that the recorder keeps: as many as a service's does.
const EVENTS: usize = 1 << 16;

/// Spreads the numbers 0, 1, 2... over the blocks.
fn block_of(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BLOCKS
}

/// Nanoseconds per repetition.
fn time(action: impl FnOnce()) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64
}

fn system_calls(file: &File, write: bool) -> f64 {
    let mut block = [1; BLOCK];
    time(|| {
        for number in 0..REQUESTS {
            let offset = block_of(number) * BLOCK as u64;
            if write {
                file.write_all_at(&block, offset).unwrap();
            } else {
                file.read_exact_at(&mut block, offset).unwrap();
            }
        }
    })
}

fn requests(driver: &mut Driver, write: bool, depth: u64) -> f64 {
    let block = [1; BLOCK];
    let (kind, output, input) = if write {
        (VIRTIO_BLK_T_OUT, &block[..], 0)
    } else {
        (VIRTIO_BLK_T_IN, &[][..], BLOCK)
    };
    time(|| {
        let (mut sent, mut done) = (0, 0);
        while done < REQUESTS {
            while sent < REQUESTS && sent - done < depth {
                let sector = block_of(sent) * (BLOCK as u64 / 512);
                driver.send(header(kind, sector), output, input).unwrap();
                sent += 1;
            }
            done += driver.wait().len() as u64;
        }
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Serve the driver's queue afresh, with another interrupt: same memory, same disk.
fn serve(rig: &Rig, driver: &mut Driver, interrupt: &Arc<Interrupt>) {
    rig.device.request_stop(0);
    assert!(rig.device.join(0, PATIENCE));
    let indirect = Some(BASE + (3 << 20));
    driver.queue = DriverQueue::new(driver.ram.clone(), driver.config, indirect, 8).unwrap();
    let call = driver.call.as_fd().as_raw_fd();
    interrupt.set_call(0, Some(call)).unwrap();
    let kick = Kick::duplicate(driver.kick.as_fd().as_raw_fd()).unwrap();
    rig.device
        .start_queue(
            0,
            &driver.ram,
            driver.config,
            Arc::clone(interrupt),
            Some(kick),
        )
        .unwrap();
}

fn main() {
    let rig = Rig::new(&vec![0; BLOCK * usize::try_from(BLOCKS).unwrap()], 4);
    let recorded = Arc::new(Interrupt::new().unwrap());
    assert!(recorded.record_to(Arc::new(Recorder::new(EVENTS))));
    let shape = Shape {
        size: 128,
        event_idx: true,
        indirect: true,
        packed: false,
    };
    let mut driver = rig.with_driver(shape, 64);
    println!("4 KiB random, page cache, {ROUNDS} rounds of {REQUESTS}: ns per request");
    for (name, write) in [("read", false), ("write", true)] {
        for depth in [1, 32] {
            let (mut bare, mut through, mut cost) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                bare.push(system_calls(rig.file.as_file(), write));
                through.push(requests(&mut driver, write, depth));
                // In the order ABBA, so that neither gains from its place.
                let [with, without, again, once_more] =
                    [&recorded, &rig.interrupt, &rig.interrupt, &recorded].map(|interrupt| {
                        serve(&rig, &mut driver, interrupt);
                        requests(&mut driver, write, depth)
                    });
                cost.push((with + once_more) / (without + again));
                serve(&rig, &mut driver, &rig.interrupt);
            }
            let (bare, through, cost) = (median(bare), median(through), median(cost));
            let (ratio, iops) = (through / bare, 1e9 / through);
            println!(
                "{name:5} depth {depth:2}: {through:7.0} ({iops:8.0} IOPS), \
                 system call {bare:6.0}, ratio {ratio:5.2}; with recorder {cost:5.3}"
            );
        }
    }
}
