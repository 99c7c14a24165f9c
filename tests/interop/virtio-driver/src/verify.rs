//! Writes, flushes, reads, zeroes and discards, several requests at a time, and compares what it
//! reads with what it wrote.

use rustix::event::{poll, PollFd, PollFlags};

use crate::connect::{Disk, Outcome, Queue, PATIENCE_MS};

const QUEUE_SIZE: u16 = 64;
const REQUESTS: usize = 16;
const BLOCK: usize = 16 << 10;
const TOTAL: usize = REQUESTS * BLOCK;
/// Flush, discard, write-zeroes (virtio 1.4, 5.2.3).
const COMMANDS: u64 = 1 << 9 | 1 << 13 | 1 << 14;

impl Disk {
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

/// Verify a disk.
pub fn verify(path: &str, packed: bool) -> Outcome<()> {
    let mut disk = Disk::connect(path, packed, COMMANDS, QUEUE_SIZE, Some(TOTAL))?;

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
