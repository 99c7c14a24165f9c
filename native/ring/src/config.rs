//! The configuration of one queue, and its checks.

use crate::error::ConfigError;
use crate::layout::{self, MAX_QUEUE_SIZE, packed};
use crate::memory::RingMemory;
use crate::state::{PackedStart, RingState, split_start};

/// The size, addresses and negotiated features of a virtqueue (virtio 1.4, 2.7 and 2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Entries, 1 to 32768; of a split queue, a power of two.
    pub size: u16,
    /// Guest address of the descriptor table or ring, aligned to 16.
    pub descriptor_area: u64,
    /// Guest address of the available ring, aligned to 2, or of the driver event suppression, to 4.
    pub driver_area: u64,
    /// Guest address of the used ring or of the device event suppression, aligned to 4.
    pub device_area: u64,
    /// `VIRTIO_F_EVENT_IDX` was negotiated.
    pub event_idx: bool,
    /// `VIRTIO_F_INDIRECT_DESC` was negotiated.
    pub indirect: bool,
    /// `VIRTIO_F_RING_PACKED` was negotiated.
    pub packed: bool,
    /// The state from which the device side continues, as returned by
    /// [`DeviceQueue::state`](crate::DeviceQueue::state). None for rings that the driver has just cleared.
    /// The driver side ignores it.
    pub state: Option<RingState>,
}

/// A named area of guest memory with the alignment that it needs.
#[derive(Clone, Copy)]
pub(crate) struct AreaSpec {
    pub(crate) name: &'static str,
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) alignment: u64,
}

/// The three areas of a queue, resolved to mapped memory.
#[derive(Clone)]
pub(crate) struct Areas<A> {
    pub(crate) descriptors: A,
    pub(crate) driver: A,
    pub(crate) device: A,
}

impl QueueConfig {
    /// Check size, alignment, bounds, overlap and state.
    ///
    /// Each area has to lie in one region of guest memory.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn validate<M: RingMemory>(&self, memory: &M) -> Result<(), ConfigError> {
        self.resolve(memory)?;
        if self.packed {
            PackedStart::from_config(self).map(drop)
        } else {
            split_start(self).map(drop)
        }
    }

    pub(crate) fn resolve<M: RingMemory>(&self, memory: &M) -> Result<Areas<M::Area>, ConfigError> {
        self.check_size()?;
        let [descriptors, driver, device] = self.area_specs();
        let areas = Areas {
            descriptors: descriptors.resolve(memory)?,
            driver: driver.resolve(memory)?,
            device: device.resolve(memory)?,
        };
        check_disjoint(&mut self.area_specs())?;
        Ok(areas)
    }

    pub(crate) fn area_specs(&self) -> [AreaSpec; 3] {
        let part = |name, address, length, alignment| AreaSpec {
            name,
            address,
            length,
            alignment,
        };
        let Self {
            size,
            descriptor_area,
            driver_area,
            device_area,
            ..
        } = *self;
        let descriptors = layout::descriptor_area_len(size);
        let descriptors = part("descriptor area", descriptor_area, descriptors, 16);
        if self.packed {
            let events = packed::EVENT_AREA_LEN;
            return [
                descriptors,
                part("driver area", driver_area, events, 4),
                part("device area", device_area, events, 4),
            ];
        }
        let (driver, device) = (layout::driver_area_len(size), layout::device_area_len(size));
        [
            descriptors,
            part("driver area", driver_area, driver, 2),
            part("device area", device_area, device, 4),
        ]
    }

    fn check_size(&self) -> Result<(), ConfigError> {
        let size = self.size;
        if self.packed {
            return match size {
                1..=MAX_QUEUE_SIZE => Ok(()),
                _ => Err(ConfigError::BadPackedSize { size }),
            };
        }
        // A power of two that fits 16 bits is at most 32768, and 0 is not a power of two.
        if size.is_power_of_two() {
            return Ok(());
        }
        Err(ConfigError::BadSize { size })
    }
}

impl AreaSpec {
    pub(crate) fn resolve<M: RingMemory>(&self, memory: &M) -> Result<M::Area, ConfigError> {
        let Self {
            name: part,
            address,
            length,
            alignment,
        } = *self;
        if !address.is_multiple_of(alignment) {
            return Err(ConfigError::Misaligned {
                part,
                address,
                alignment,
            });
        }
        memory
            .area(address, length)
            .ok_or(ConfigError::OutsideMemory {
                part,
                address,
                length,
            })
    }
}

/// Check that no two areas overlap. Each is inside guest memory, so its end can't overflow.
pub(crate) fn check_disjoint(parts: &mut [AreaSpec]) -> Result<(), ConfigError> {
    parts.sort_unstable_by_key(|part| part.address);
    for pair in parts.windows(2) {
        if pair[0].address + pair[0].length > pair[1].address {
            return Err(ConfigError::Overlap {
                first: pair[0].name,
                second: pair[1].name,
            });
        }
    }
    Ok(())
}
