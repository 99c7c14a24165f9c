//! Guest memory behind a resource (`VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING`).

use virtmesh_ring::{GuestRam, MemoryError, RingMemory};

use crate::error::CopyError;

/// Some bytes of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Guest address.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
}

/// Pieces of guest memory that are read as one. All of them are inside of it.
#[derive(Clone)]
pub struct Backing {
    ram: GuestRam,
    pieces: Vec<Piece>,
    /// Where each piece begins, in bytes of the whole.
    starts: Vec<u64>,
    size: u64,
}

impl Backing {
    /// Take pieces of guest memory. Empty ones are left out.
    ///
    /// # Errors
    /// `OutOfBounds` for a piece that is not inside of guest memory.
    pub fn new(
        ram: GuestRam,
        pieces: impl IntoIterator<Item = Piece>,
    ) -> Result<Self, MemoryError> {
        let mut taken = Self {
            ram,
            pieces: Vec::new(),
            starts: Vec::new(),
            size: 0,
        };
        for piece in pieces.into_iter().filter(|piece| piece.length > 0) {
            let length = u64::from(piece.length);
            if !taken.ram.contains(piece.address, length) {
                return Err(MemoryError::OutOfBounds {
                    address: piece.address,
                    length,
                });
            }
            taken.starts.push(taken.size);
            taken.pieces.push(piece);
            taken.size += length; // No overflow: fewer than 2^32 pieces of less than 2^32 bytes.
        }
        Ok(taken)
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Check that rows are all inside of it: the first at `offset`, each `stride` after the one before.
    ///
    /// # Errors
    /// `Short`.
    pub fn check_rows(
        &self,
        offset: u64,
        stride: u64,
        row: usize,
        rows: u32,
    ) -> Result<(), CopyError> {
        let last = u128::from(stride) * u128::from(rows.saturating_sub(1));
        let end = u128::from(offset) + last + row as u128;
        if end > u128::from(self.size) {
            let size = self.size;
            return Err(CopyError::Short { size, end });
        }
        Ok(())
    }

    /// Copy bytes out, from `offset` on.
    ///
    /// # Errors
    /// `Short`, `Memory`.
    pub fn read(&self, offset: u64, target: &mut [u8]) -> Result<(), CopyError> {
        self.check_rows(offset, 0, target.len(), 1)?;
        let mut index = self.starts.partition_point(|start| *start <= offset);
        let (mut position, mut rest) = (offset, target);
        while !rest.is_empty() {
            // `index` is one behind the piece that holds `position`, and there is one for each byte.
            let (piece, start) = (self.pieces[index - 1], self.starts[index - 1]);
            let skipped = position - start;
            let here = u64::from(piece.length) - skipped;
            let count = usize::try_from(here).map_or(rest.len(), |here| here.min(rest.len()));
            let (now, later) = rest.split_at_mut(count);
            let address = piece.address + skipped;
            self.ram
                .read(address, now)
                .map_err(|_| CopyError::Memory { address })?;
            position += count as u64;
            rest = later;
            index += 1;
        }
        Ok(())
    }
}
