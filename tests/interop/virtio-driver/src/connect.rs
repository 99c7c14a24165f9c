//! A connection to a disk: one queue, and memory for its buffers.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsRawFd;

use memmap2::MmapMut;
use rustix::fs::{memfd_create, MemfdFlags};
use virtio_driver::{VhostUser, VirtioBlkQueue, VirtioBlkTransport, VirtioFeatureFlags};

pub type Outcome<T> = Result<T, Box<dyn Error>>;
pub type Queue = VirtioBlkQueue<'static, usize>;

/// Longest time without a completion, in milliseconds.
pub const PATIENCE_MS: i32 = 30_000;

/// A disk with one queue; `memory` is what it reads from and writes to.
pub struct Disk {
    pub transport: Box<VirtioBlkTransport>,
    pub queue: Queue,
    pub memory: MmapMut,
}

impl Disk {
    /// Connect, with split or packed rings. `optional` are feature bits that are taken if offered.
    /// Without a number of bytes, the memory is as large as the disk.
    pub fn connect(
        path: &str,
        packed: bool,
        optional: u64,
        queue_size: u16,
        bytes: Option<usize>,
    ) -> Outcome<Self> {
        let rings = VirtioFeatureFlags::RING_PACKED;
        let wanted = VirtioFeatureFlags::VERSION_1
            | VirtioFeatureFlags::RING_INDIRECT_DESC
            | VirtioFeatureFlags::RING_EVENT_IDX
            | if packed {
                rings
            } else {
                VirtioFeatureFlags::empty()
            };
        let mut transport: Box<VirtioBlkTransport> =
            Box::new(VhostUser::new(path, wanted.bits() | optional)?);
        let agreed = VirtioFeatureFlags::from_bits_truncate(transport.get_features());
        if agreed.contains(rings) != packed {
            return Err(format!("packed rings: wanted {packed}, agreed on {agreed:?}").into());
        }
        let mut queues = VirtioBlkQueue::setup_queues(&mut *transport, 1, queue_size)?;
        let mut queue = queues.remove(0);
        // Without it the crate asks for no interrupts.
        queue.set_used_notif_enabled(true);
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => usize::try_from(capacity(&*transport)?)?,
        };
        let file: File = memfd_create("buffers", MemfdFlags::CLOEXEC)?.into();
        file.set_len(bytes as u64)?;
        // SAFETY: nothing but the device, which this program waits for, changes the memfd.
        let memory = unsafe { MmapMut::map_mut(&file)? };
        transport.map_mem_region(memory.as_ptr() as usize, bytes, file.as_raw_fd(), 0)?;
        Ok(Self {
            transport,
            queue,
            memory,
        })
    }
}

/// The size of a disk, in bytes.
pub fn capacity(transport: &VirtioBlkTransport) -> Outcome<u64> {
    Ok(u64::from(transport.get_config()?.capacity) * 512)
}
