//! The driver's private copy of its descriptor state, which the device can't reach.

/// A chain that was added and not popped as used yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlightChain {
    /// Ring descriptors that it occupies: 1 for an indirect chain.
    pub(crate) count: u16,
    /// The last of them.
    pub(crate) tail: u16,
    /// Device-writable bytes.
    pub(crate) writable: u64,
}

/// Which descriptors are free, and which chains are in flight.
#[derive(Debug)]
pub(crate) struct Shadow {
    /// For each descriptor, the next one of its chain or of the free list. The last one has a successor
    /// too, which is never followed: the counts bound every traversal.
    next: Box<[u16]>,
    /// For each descriptor, the chain that begins there, if one does.
    chains: Box<[Option<InFlightChain>]>,
    /// First of the free list.
    free_head: u16,
    free: u16,
    in_flight: u16,
}

impl Shadow {
    pub(crate) fn new(size: u16) -> Self {
        Self {
            next: (1..=size).collect(),
            chains: vec![None; size.into()].into(),
            free_head: 0,
            free: size,
            in_flight: 0,
        }
    }

    /// Descriptors that are free.
    pub(crate) fn free(&self) -> u16 {
        self.free
    }

    /// Chains in flight.
    pub(crate) fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// The descriptor the next chain begins at, if there is room for one.
    pub(crate) fn head(&self) -> u16 {
        self.free_head
    }

    /// The free descriptor to use after `index`.
    pub(crate) fn after(&self, index: u16) -> u16 {
        self.next[usize::from(index)]
    }

    /// Move the first `chain.count` free descriptors, which end at `chain.tail`, from the free list to
    /// a chain in flight.
    pub(crate) fn allocate(&mut self, chain: InFlightChain) {
        let head = self.free_head;
        self.free_head = self.after(chain.tail);
        self.free -= chain.count;
        self.in_flight += 1;
        self.chains[usize::from(head)] = Some(chain);
    }

    /// The chain in flight that begins at `head` (below the queue size), if one does.
    pub(crate) fn get(&self, head: u16) -> Option<InFlightChain> {
        self.chains[usize::from(head)]
    }

    /// Return the descriptors of a chain in flight to the free list.
    pub(crate) fn release(&mut self, head: u16, chain: InFlightChain) {
        self.chains[usize::from(head)] = None;
        self.next[usize::from(chain.tail)] = self.free_head;
        self.free_head = head;
        self.free += chain.count;
        self.in_flight -= 1;
    }
}
