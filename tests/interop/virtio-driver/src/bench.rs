//! Measures a disk: keeps so many requests in flight for so long, and says how fast they were.
//!
//! Each line of standard input is a measurement, `KIND DEPTH SIZE SECONDS ORDER`: KIND is `read`,
//! `write` or `mix` (seven reads in ten requests), SIZE is in bytes, ORDER `random` or `sequential`.
//! Each is answered by a line of JSON. In random order each request in flight has a buffer of its
//! own; in sequential order the buffers lie in memory as the blocks lie on the disk, so that as
//! many bytes of memory are touched as of the image.

use std::io::{stdin, BufRead};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags};

use crate::connect::{capacity, Disk, Outcome, PATIENCE_MS};
use crate::histogram::Histogram;

/// The crate uses three descriptors for a request.
const QUEUE_SIZE: u16 = 256;
const MOST_IN_FLIGHT: usize = QUEUE_SIZE as usize / 3;
/// Without this feature a disk makes each write durable (virtio 1.4, 5.2.6.2).
const FLUSH: u64 = 1 << 9;
const READS_OF_TEN: u64 = 7;

/// What a line asks for.
struct Task {
    kind: Kind,
    depth: usize,
    size: usize,
    duration: Duration,
    sequential: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    Mix,
}

/// A request in flight.
#[derive(Clone, Copy)]
struct Slot {
    sent: Instant,
    /// Where its buffer begins when buffers belong to slots.
    buffer: usize,
}

/// Measure whatever standard input asks for.
pub fn bench(path: &str) -> Outcome<()> {
    let mut disk = Disk::connect(path, false, FLUSH, QUEUE_SIZE, None)?;
    disk.memory.fill(0xA5);
    let bytes = capacity(&*disk.transport)?;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for line in stdin().lock().lines() {
        let task = Task::parse(&line?, bytes)?;
        println!("{}", disk.measure(&task, bytes, &mut random)?);
    }
    Ok(())
}

impl Task {
    fn parse(line: &str, bytes: u64) -> Outcome<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, depth, size, seconds, order] = words[..] else {
            return Err(format!("not KIND DEPTH SIZE SECONDS ORDER: {line}").into());
        };
        let task = Self {
            kind: match kind {
                "read" => Kind::Read,
                "write" => Kind::Write,
                "mix" => Kind::Mix,
                _ => return Err(format!("no kind of request: {kind}").into()),
            },
            depth: depth.parse()?,
            size: size.parse()?,
            duration: Duration::try_from_secs_f64(seconds.parse()?)?,
            sequential: match order {
                "sequential" => true,
                "random" => false,
                _ => return Err(format!("no order: {order}").into()),
            },
        };
        let fits = task.depth.checked_mul(task.size).map(|all| all as u64);
        if task.depth == 0 || task.depth > MOST_IN_FLIGHT || task.size == 0 || task.size % 512 > 0 {
            return Err(format!("depth or size can't be used: {line}").into());
        }
        if fits.is_none_or(|all| all > bytes) {
            return Err(format!("the disk is too small: {line}").into());
        }
        Ok(task)
    }

    /// True if the next request is a write.
    fn writes(&self, random: &mut Random) -> bool {
        match self.kind {
            Kind::Read => false,
            Kind::Write => true,
            Kind::Mix => random.below(10) >= READS_OF_TEN,
        }
    }
}

impl Disk {
    /// Measure once; return a line of JSON.
    fn measure(&mut self, task: &Task, bytes: u64, random: &mut Random) -> Outcome<String> {
        let blocks = bytes / task.size as u64;
        let notifier = self.transport.get_submission_notifier(0);
        let completed = self.transport.get_completion_fd(0);
        let mut latencies = Histogram::new();
        let mut next = 0;
        let mut done: u64 = 0;
        let mut interrupts: u64 = 0;
        let mut kicks: u64 = 0;
        let start = Instant::now();
        let end = start + task.duration;
        let mut slots: Vec<Slot> = (0..task.depth)
            .map(|number| Slot {
                sent: start,
                buffer: number * task.size,
            })
            .collect();
        // What may be sent now.
        let mut free: Vec<usize> = (0..task.depth).collect();
        let mut in_flight = 0;
        loop {
            if Instant::now() < end {
                for number in free.drain(..) {
                    let block = if task.sequential {
                        next += 1;
                        (next - 1) % blocks
                    } else {
                        random.below(blocks)
                    };
                    let offset = block * task.size as u64;
                    let slot = &mut slots[number];
                    let begin = if task.sequential {
                        usize::try_from(offset)?
                    } else {
                        slot.buffer
                    };
                    slot.sent = Instant::now();
                    let buffer = &mut self.memory[begin..begin + task.size];
                    if task.writes(random) {
                        self.queue.write(offset, buffer, number)?;
                    } else {
                        self.queue.read(offset, buffer, number)?;
                    }
                    in_flight += 1;
                }
                if self.queue.avail_notif_needed() {
                    kicks += 1;
                    notifier.notify()?;
                }
            }
            if in_flight == 0 {
                break;
            }
            let mut completions = self.queue.completions();
            if !completions.has_next() {
                // Some devices make this descriptor non-blocking, so all are polled first.
                let mut waiting = [PollFd::new(&*completed, PollFlags::IN)];
                if poll(&mut waiting, PATIENCE_MS)? == 0 {
                    return Err(format!("no completion in {PATIENCE_MS} ms").into());
                }
                completed.read()?;
                interrupts += 1;
                completions = self.queue.completions();
            }
            let now = Instant::now();
            for completion in completions {
                if completion.ret != 0 {
                    return Err(format!("a request failed: {}", completion.ret).into());
                }
                let sent = slots[completion.context].sent;
                latencies.add(u64::try_from(now.duration_since(sent).as_nanos())?);
                free.push(completion.context);
                in_flight -= 1;
                done += 1;
            }
        }
        Ok(report(
            task,
            done,
            start.elapsed(),
            [kicks, interrupts],
            &latencies,
        ))
    }
}

/// What was measured, as a line of JSON.
fn report(
    task: &Task,
    done: u64,
    took: Duration,
    [kicks, interrupts]: [u64; 2],
    latencies: &Histogram,
) -> String {
    let seconds = took.as_secs_f64();
    let rate = done as f64 / seconds;
    format!(
        "{{\"requests\": {done}, \"seconds\": {seconds:.6}, \"rate\": {rate:.2}, \
         \"bytes_per_s\": {:.0}, \"kicks\": {kicks}, \"interrupts\": {interrupts}, \
         \"p50_ns\": {}, \"p90_ns\": {}, \"p99_ns\": {}, \"p999_ns\": {}, \"max_ns\": {}, \
         \"histogram_ns\": {}}}",
        rate * task.size as f64,
        latencies.percentile(50.0),
        latencies.percentile(90.0),
        latencies.percentile(99.0),
        latencies.percentile(99.9),
        latencies.max(),
        latencies.to_json(),
    )
}

/// Marsaglia's xorshift64: fast, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
