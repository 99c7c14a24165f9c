//! Guest memory with a queue in it, and helpers that write malformed rings.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use virtmesh_ring::layout::packed::Word;
use virtmesh_ring::layout::{Descriptor, descriptor_area_len, device_area_len, driver_area_len};
use virtmesh_ring::{
    DeviceQueue, DriverQueue, GuestRam, QueueConfig, RegionSpec, RingArea, RingMemory, Segment,
};

/// Guest address of the memory: where RAM begins on QEMU's RISC-V `virt` board.
pub const BASE: u64 = 0x8000_0000;
/// Descriptors per indirect table.
pub const INDIRECT_ENTRIES: u16 = 8;

/// A memfd with these seals.
pub fn memfd(size: u64, seals: i32) -> OwnedFd {
    // SAFETY: the name is a NUL-terminated string, which the call copies.
    let fd = unsafe {
        libc::memfd_create(
            c"ring-test".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: the call above made the descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(size).unwrap();
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of this process.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }, 0);
    file.into()
}

/// Map a whole file at [`BASE`].
pub fn map(fd: impl AsFd, size: u64) -> GuestRam {
    let fd = fd.as_fd();
    GuestRam::map(&[RegionSpec {
        fd,
        guest_address: BASE,
        size,
        file_offset: 0,
    }])
    .unwrap()
}

/// Sealed memory of `size` bytes at [`BASE`].
pub fn ram(size: u64) -> GuestRam {
    map(memfd(size, libc::F_SEAL_SHRINK), size)
}

/// A queue in its own memory, with room for indirect tables and for data behind it.
#[derive(Clone)]
pub struct Rig {
    pub memory: GuestRam,
    pub config: QueueConfig,
    pub indirect_area: u64,
    /// Where data may go, up to `end`.
    pub data: u64,
    pub end: u64,
}

impl Rig {
    pub fn new(size: u16, event_idx: bool, indirect: bool) -> Self {
        let bytes = Self::bytes(size, 1 << 20);
        Self::at(ram(bytes), bytes, size, event_idx, indirect)
    }

    /// Bytes of memory for a queue with `data` bytes behind it.
    pub fn bytes(size: u16, data: u64) -> u64 {
        let tables = u64::from(size) * u64::from(INDIRECT_ENTRIES) * 16;
        let rings = descriptor_area_len(size) + driver_area_len(size) + device_area_len(size);
        (rings + tables + data + 64).next_multiple_of(4096)
    }

    pub fn at(memory: GuestRam, bytes: u64, size: u16, event_idx: bool, indirect: bool) -> Self {
        let descriptor_area = BASE;
        let driver_area = descriptor_area + descriptor_area_len(size);
        let device_area = (driver_area + driver_area_len(size)).next_multiple_of(4);
        let indirect_area = (device_area + device_area_len(size)).next_multiple_of(16);
        let data = indirect_area + u64::from(size) * u64::from(INDIRECT_ENTRIES) * 16;
        let config = QueueConfig {
            size,
            descriptor_area,
            driver_area,
            device_area,
            event_idx,
            indirect,
            packed: false,
            state: None,
        };
        Self {
            memory,
            config,
            indirect_area,
            data,
            end: BASE + bytes,
        }
    }

    /// The same as a packed queue, or not.
    pub fn packed(mut self, packed: bool) -> Self {
        self.config.packed = packed;
        self
    }

    pub fn driver(&self) -> DriverQueue {
        let tables = self.config.indirect.then_some(self.indirect_area);
        DriverQueue::new(self.memory.clone(), self.config, tables, INDIRECT_ENTRIES).unwrap()
    }

    pub fn device(&self) -> DeviceQueue {
        DeviceQueue::new(self.memory.clone(), self.config).unwrap()
    }

    /// A segment of the data part.
    pub fn segment(&self, offset: u64, len: u32) -> Segment {
        Segment {
            addr: self.data + offset,
            len,
        }
    }

    /// Write a descriptor of the table.
    pub fn set_desc(&self, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.set_desc_at(
            self.config.descriptor_area + 16 * u64::from(index),
            addr,
            len,
            flags,
            next,
        );
    }

    /// Write a descriptor anywhere.
    pub fn set_desc_at(&self, address: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let words = Descriptor {
            addr,
            len,
            flags,
            next,
        }
        .to_words();
        self.memory
            .area(address, 16)
            .unwrap()
            .write_descriptor(0, words);
    }

    /// Write a descriptor of a packed ring, or of an indirect table of one, at any address.
    pub fn set_packed_at(&self, address: u64, addr: u64, len: u32, id: u16, flags: u16) {
        let word = Word { len, id, flags };
        let area = self.memory.area(address, 16).unwrap();
        area.write_u64(0, addr);
        area.store_u64(8, word.to_bits(), Ordering::Release);
    }

    /// Write an entry of a packed ring.
    pub fn set_packed(&self, index: u16, addr: u64, len: u32, id: u16, flags: u16) {
        let address = self.config.descriptor_area + 16 * u64::from(index);
        self.set_packed_at(address, addr, len, id, flags);
    }

    /// Read an entry of a packed ring, without its address.
    pub fn packed_word(&self, index: u16) -> Word {
        let address = self.config.descriptor_area + 16 * u64::from(index);
        let area = self.memory.area(address, 16).unwrap();
        Word::from_bits(area.load_u64(8, Ordering::Acquire))
    }

    /// Make chains available from index 0 on, as a driver without checks would.
    pub fn offer(&self, heads: &[u16]) {
        for (slot, head) in (0_u64..).zip(heads) {
            let entry = self.config.driver_area + 4 + 2 * (slot % u64::from(self.config.size));
            self.memory
                .store_u16(entry, *head, Ordering::Relaxed)
                .unwrap();
        }
        self.set_avail_idx(u16::try_from(heads.len()).unwrap());
    }

    pub fn set_avail_idx(&self, idx: u16) {
        self.memory
            .store_u16(self.config.driver_area + 2, idx, Ordering::Release)
            .unwrap();
    }

    /// Use chains from index 0 on, as a device without checks would.
    pub fn hand_back(&self, used: &[(u32, u32)]) {
        for (slot, (id, len)) in (0_u64..).zip(used) {
            let entry = self.config.device_area + 4 + 8 * (slot % u64::from(self.config.size));
            self.memory
                .store_u32(entry, *id, Ordering::Relaxed)
                .unwrap();
            self.memory
                .store_u32(entry + 4, *len, Ordering::Relaxed)
                .unwrap();
        }
        self.set_used_idx(u16::try_from(used.len()).unwrap());
    }

    pub fn set_used_idx(&self, idx: u16) {
        self.memory
            .store_u16(self.config.device_area + 2, idx, Ordering::Release)
            .unwrap();
    }
}
