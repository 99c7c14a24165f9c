//! The guards of one guest memory: over those of its regions that can go away under their mapping.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use virtmesh_device::EventFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::guard::Guard;
use super::guest_ram::to_usize;
use super::region::RegionSpec;
use crate::error::MemoryError;

/// Guards, and the event that all of them signal.
#[derive(Debug)]
pub(super) struct Guards {
    _guards: Vec<Guard>,
    lost: Option<Arc<EventFd>>,
}

impl Guards {
    /// Guard the regions of a memory that are `fickle`.
    pub(super) fn new(
        memory: &GuestMemoryMmap,
        specs: &[RegionSpec<'_>],
        fickle: impl Fn(&RegionSpec<'_>) -> bool,
    ) -> Result<Self, MemoryError> {
        let mut guards = Vec::new();
        let mut lost = None;
        for (region, spec) in specs.iter().enumerate().filter(|(_, spec)| fickle(spec)) {
            let failed = |source| MemoryError::Map { region, source };
            let event = match &lost {
                Some(event) => Arc::clone(event),
                None => Arc::clone(lost.insert(Arc::new(EventFd::new().map_err(failed)?))),
            };
            let place = memory
                .get_host_address(GuestAddress(spec.guest_address))
                .map_err(|error| failed(io::Error::other(error)))?;
            let start = place.addr();
            // No overflow: it is mapped.
            let range = start..start + to_usize(spec.size);
            guards.push(Guard::new(&range, event).map_err(failed)?);
        }
        Ok(Self {
            _guards: guards,
            lost,
        })
    }

    /// Readable once a region went away. None if none can.
    pub(super) fn lost(&self) -> Option<BorrowedFd<'_>> {
        self.lost.as_ref().map(|event| (**event).as_fd())
    }
}
