//! Guest memory, and a driver for a device in the same process.
#![allow(dead_code, reason = "each test binary uses its part of it")]

pub mod jobs;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;
use virtmesh_blk::{
    BlkDevice, Disk, DiskOptions, Engine, EngineChoice, Image, PollLimit, RangeLimits, SyncEngine,
};
use virtmesh_device::{EventFd, Interrupt, Kick};
use virtmesh_ring::{DriverQueue, GuestRam, QueueConfig, RegionSpec, Segment};

/// How long tests wait for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// `VIRTIO_BLK_F_*` that the tests negotiate: `SIZE_MAX`, `SEG_MAX`, FLUSH, DISCARD, `WRITE_ZEROES`.
pub const FEATURES: u64 = 1 << 1 | 1 << 2 | 1 << 9 | 1 << 13 | 1 << 14;
/// Where guest memory begins.
pub const BASE: u64 = 0x8000_0000;
/// What a status byte holds before the device writes it.
pub const UNWRITTEN: u8 = 0xff;

/// A file of `size` bytes in memory, sealed against shrinking.
pub fn sealed_memory(size: u64) -> File {
    // SAFETY: the name is a C string; the descriptor is new, and nothing else owns it.
    let file = unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let descriptor = libc::memfd_create(c"guest".as_ptr(), flags);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.set_len(size).unwrap();
    // SAFETY: F_ADD_SEALS takes no pointers.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    assert_eq!(sealed, 0);
    file
}

/// Whether temporary files can be read from the page cache alone (`RWF_NOWAIT`). Those on overlay,
/// the file system of containers, can't.
pub fn reads_from_page_cache() -> bool {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[1; 512]).unwrap();
    let mut data = [0; 512];
    let piece = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: the piece is all of `data`, which outlives the call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const piece, 1, 0, libc::RWF_NOWAIT) };
    read == 512
}

/// Guest memory of one region at [`BASE`].
pub fn guest_ram(size: u64) -> GuestRam {
    let file = sealed_memory(size);
    let spec = RegionSpec {
        fd: file.as_fd(),
        guest_address: BASE,
        size,
        file_offset: 0,
    };
    GuestRam::map(&[spec]).unwrap()
}

/// An image with the given content.
pub fn image_file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

pub fn options() -> DiskOptions {
    let limits = RangeLimits {
        max_sectors: 1024,
        max_seg: 4,
    };
    DiskOptions {
        serial: "serial-0".into(),
        seg_max: 64,
        size_max: 1 << 20,
        discard: limits,
        write_zeroes: limits,
        hold_failed: false,
        poll: PollLimit {
            time: Duration::from_micros(50),
            on_one_processor: false,
        },
    }
}

/// Bytes that differ from their neighbours, and from those of another seed.
pub fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..=250)
        .map(|byte: u8| byte ^ seed)
        .cycle()
        .take(length)
        .collect()
}

/// A header of a request.
pub fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// A segment of a DISCARD or `WRITE_ZEROES`.
pub fn range(sector: u64, num_sectors: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sector.to_le_bytes());
    bytes[8..12].copy_from_slice(&num_sectors.to_le_bytes());
    bytes[12..].copy_from_slice(&flags.to_le_bytes());
    bytes
}

/// Which features of the ring a queue uses, and how large it is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub size: u16,
    pub event_idx: bool,
    pub indirect: bool,
    pub packed: bool,
}

pub const PLAIN: Shape = Shape {
    size: 64,
    event_idx: true,
    indirect: false,
    packed: false,
};

/// Bytes each request has in guest memory, data included.
pub const SLOT: u64 = 128 << 10;
/// Where the status byte is in a slot; the data begins right after the header's page.
const STATUS_OFFSET: u64 = 16;
const DATA_OFFSET: u64 = 4096;
/// Most data of a request.
pub const DATA_MAX: usize = 124 << 10;
const _: () = assert!(DATA_MAX as u64 + DATA_OFFSET == SLOT);
/// Bytes of guest memory that the rings have.
const RINGS: u64 = 4 << 20;

/// The driver of one queue: each request has a slot of guest memory.
pub struct Driver {
    pub queue: DriverQueue,
    pub ram: GuestRam,
    pub config: QueueConfig,
    pub kick: EventFd,
    pub call: EventFd,
    free: Vec<u64>,
    slots: Vec<u64>,
}

/// A request that came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub token: u16,
    pub status: u8,
    pub written: u32,
    pub data: Vec<u8>,
}

impl Driver {
    pub fn new(shape: Shape, slots: u64) -> Self {
        let ram = guest_ram(RINGS + slots * SLOT);
        let config = QueueConfig {
            size: shape.size,
            descriptor_area: BASE,
            driver_area: BASE + (1 << 20),
            device_area: BASE + (2 << 20),
            event_idx: shape.event_idx,
            indirect: shape.indirect,
            packed: shape.packed,
            state: None,
        };
        let indirect = shape.indirect.then_some(BASE + (3 << 20));
        let queue = DriverQueue::new(ram.clone(), config, indirect, 8).unwrap();
        Self {
            queue,
            ram,
            config,
            kick: EventFd::new().unwrap(),
            call: EventFd::new().unwrap(),
            free: (0..slots).map(|slot| BASE + RINGS + slot * SLOT).collect(),
            slots: vec![0; usize::from(shape.size)],
        }
    }

    /// Add a request: `output` is its readable data, `input` the size of its writable data. None when
    /// there is no room. Notifies the device if it wants that.
    pub fn send(&mut self, head: [u8; 16], output: &[u8], input: usize) -> Option<u16> {
        let slot = *self.free.last()?;
        self.ram.write(slot, &head).unwrap();
        self.ram.write(slot + STATUS_OFFSET, &[UNWRITTEN]).unwrap();
        self.ram.write(slot + DATA_OFFSET, output).unwrap();
        let segment = |addr, len: usize| Segment {
            addr,
            len: len.try_into().unwrap(),
        };
        let mut readable = vec![segment(slot, 16)];
        let mut writable = vec![segment(slot + STATUS_OFFSET, 1)];
        if !output.is_empty() {
            readable.push(segment(slot + DATA_OFFSET, output.len()));
        }
        if input > 0 {
            writable.insert(0, segment(slot + DATA_OFFSET, input));
        }
        let token = self.queue.add(&readable, &writable).unwrap()?;
        self.slots[usize::from(token)] = slot;
        self.free.pop();
        if self.queue.should_notify() {
            self.kick.signal();
        }
        Some(token)
    }

    /// Where the data of the next request lies; its slot is the one that became free last.
    pub fn data(&self) -> u64 {
        self.free.last().unwrap() + DATA_OFFSET
    }

    /// Take the answers that are there.
    pub fn answers(&mut self) -> Vec<Answer> {
        let mut used = Vec::new();
        self.queue.pop_used_batch(1024, &mut used).unwrap();
        let slots: Vec<_> = used
            .iter()
            .map(|&(token, _)| self.slots[usize::from(token)])
            .collect();
        self.free.extend(&slots);
        used.into_iter()
            .zip(slots)
            .map(|((token, written), slot)| self.answer(token, written, slot))
            .collect()
    }

    fn answer(&self, token: u16, written: u32, slot: u64) -> Answer {
        let mut status = [0];
        self.ram.read(slot + STATUS_OFFSET, &mut status).unwrap();
        let mut data = vec![0; (written as usize).saturating_sub(1).min(DATA_MAX)];
        self.ram.read(slot + DATA_OFFSET, &mut data).unwrap();
        Answer {
            token,
            status: status[0],
            written,
            data,
        }
    }

    /// Wait for the next answers, as a driver does: by interrupt.
    pub fn wait(&mut self) -> Vec<Answer> {
        loop {
            let answers = self.answers();
            if !answers.is_empty() {
                return answers;
            }
            if !self.queue.enable_interrupts() {
                await_event(&self.call);
            }
        }
    }

    /// Send one request and wait for its answer; no other may be in flight.
    pub fn ask(&mut self, head: [u8; 16], output: &[u8], input: usize) -> Answer {
        self.send(head, output, input).expect("there is room");
        let mut answers = self.wait();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }
}

/// Wait until an event is signalled, and drain it. A hang is a failed test.
pub fn await_event(event: &EventFd) {
    assert!(
        is_signalled(event, Duration::from_secs(20)),
        "no event in 20 s"
    );
    event.drain();
}

pub fn is_signalled(event: &EventFd, limit: Duration) -> bool {
    let mut entry = libc::pollfd {
        fd: event.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&raw mut entry, 1, limit.as_millis().try_into().unwrap()) == 1 }
}

/// How a disk reads and writes its image.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub bypass_cache: bool,
    pub engine: EngineChoice,
}

/// All ways.
pub const WAYS: [Way; 3] = [
    Way {
        bypass_cache: false,
        engine: EngineChoice::Threads,
    },
    Way {
        bypass_cache: true,
        engine: EngineChoice::Threads,
    },
    Way {
        bypass_cache: true,
        engine: EngineChoice::Uring,
    },
];

/// A device over an image file, with one interrupt.
pub struct Rig {
    pub device: BlkDevice,
    pub interrupt: Arc<Interrupt>,
    pub file: NamedTempFile,
}

impl Rig {
    pub fn new(content: &[u8], threads: usize) -> Self {
        Self::with_options(content, threads, options())
    }

    pub fn with_options(content: &[u8], threads: usize, options: DiskOptions) -> Self {
        let file = image_file(content);
        let image = Image::open(file.path(), false, 512).unwrap();
        let engine = Arc::new(SyncEngine::new(threads, 1).unwrap());
        Self::of(file, image, options, engine)
    }

    /// A device whose image is read and written in one of [`WAYS`], for so many queues. None where this
    /// host has no such way: the file system of temporary files, or a container, may lack it.
    pub fn by(way: Way, content: &[u8], (threads, queues): (usize, usize)) -> Option<Self> {
        let file = image_file(content);
        let mut image = Image::open(file.path(), false, 512).unwrap();
        if way.bypass_cache {
            image = image.bypass_cache(file.path()).ok()?;
        }
        let chosen = way.engine.start(threads, (queues, 64), &image).ok()?;
        Some(Self::of(file, image, options(), chosen.engine))
    }

    fn of(
        file: NamedTempFile,
        image: Image,
        options: DiskOptions,
        engine: Arc<dyn Engine>,
    ) -> Self {
        let disk = Disk::new(image, options).unwrap();
        disk.set_features(FEATURES);
        let device = BlkDevice::new(disk, engine);
        let interrupt = Arc::new(Interrupt::new().unwrap());
        Self {
            device,
            interrupt,
            file,
        }
    }

    /// Start a queue for a driver.
    pub fn start(&self, index: usize, driver: &Driver) {
        let call = driver.call.as_fd().as_raw_fd();
        self.interrupt.set_call(index, Some(call)).unwrap();
        let kick = Kick::duplicate(driver.kick.as_fd().as_raw_fd()).unwrap();
        let interrupt = Arc::clone(&self.interrupt);
        self.device
            .start_queue(index, &driver.ram, driver.config, interrupt, Some(kick))
            .unwrap();
    }

    /// Start queue 0 for a new driver.
    pub fn with_driver(&self, shape: Shape, slots: u64) -> Driver {
        let driver = Driver::new(shape, slots);
        self.start(0, &driver);
        driver
    }
}
