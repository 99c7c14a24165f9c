//! The event suppression structures: which notifications each side wants (virtio 1.4, 2.8.10).

use std::sync::atomic::Ordering;

use crate::layout::packed::{
    EventSuppress, Position, RING_EVENT_FLAGS_DESC, RING_EVENT_FLAGS_DISABLE,
    RING_EVENT_FLAGS_ENABLE,
};
use crate::memory::RingArea;

/// An event suppression structure in shared memory. One side writes it, the other reads it.
pub(super) struct EventSuppressArea<A> {
    area: A,
    size: u16,
    event_idx: bool,
}

impl<A: RingArea> EventSuppressArea<A> {
    pub(super) fn new(area: A, size: u16, event_idx: bool) -> Self {
        Self {
            area,
            size,
            event_idx,
        }
    }

    /// Enable the notification for the descriptor at `next`; without `VIRTIO_F_EVENT_IDX`, for all.
    pub(super) fn enable(&self, next: Position) {
        self.store(if self.event_idx {
            EventSuppress {
                desc: next.to_bits(),
                flags: RING_EVENT_FLAGS_DESC,
            }
        } else {
            EventSuppress {
                desc: 0,
                flags: RING_EVENT_FLAGS_ENABLE,
            }
        });
    }

    /// Disable notifications.
    pub(super) fn disable(&self) {
        self.store(EventSuppress {
            desc: 0,
            flags: RING_EVENT_FLAGS_DISABLE,
        });
    }

    /// True if the peer wants a notification of the last `added` entries before `new`.
    ///
    /// Reserved values count as enabled: a spurious notification is harmless. `added` may exceed two
    /// laps if this was not called for long; then it covers every entry.
    pub(super) fn is_wanted(&self, new: Position, added: u32) -> bool {
        let EventSuppress { desc, flags } =
            EventSuppress::from_bits(self.area.load_u32(0, Ordering::Relaxed));
        match flags {
            RING_EVENT_FLAGS_DISABLE => false,
            RING_EVENT_FLAGS_DESC if self.event_idx => {
                let event = Position::from_bits(desc, self.size);
                event.is_none_or(|event| {
                    let after = event.plus(1, self.size);
                    new.since(after, self.size) < added
                })
            }
            _ => true,
        }
    }

    fn store(&self, events: EventSuppress) {
        self.area.store_u32(0, events.to_bits(), Ordering::Relaxed);
    }
}
