//! Guest memory as a debugger sees it: by physical and by virtual address.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use virtmesh_board::Board;
use virtmesh_ring::RingMemory;

use crate::errors;
use crate::exceptions::Exception;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Most bytes of one call by virtual address.
const VIRTUAL_MAX: u64 = 1 << 24;

/// A piece of a range of virtual addresses: physical address, and length.
type Piece = (u64, usize);

pub fn read_physical<'py>(
    py: Python<'py>,
    board: &Board,
    address: u64,
    length: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let memory = board.memory();
    // Checked before memory is allocated for it.
    let ram = |length: &usize| memory.contains(address, *length as u64);
    let checked = usize::try_from(length).ok().filter(ram);
    let checked = checked.ok_or_else(|| refusal(py, address, length, "is outside RAM"))?;
    PyBytes::new_with(py, checked, |bytes| {
        memory
            .read(address, bytes)
            .map_err(|error| errors::memory(py, &error))
    })
}

pub fn write_physical(
    py: Python<'_>,
    board: &mut Board,
    address: u64,
    data: &[u8],
) -> PyResult<()> {
    let written = board.memory().write(address, data);
    written.map_err(|error| errors::memory(py, &error))?;
    board.hart().flush();
    Ok(())
}

pub fn read_virtual<'py>(
    py: Python<'py>,
    board: &mut Board,
    address: u64,
    length: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let pieces = translate(py, board, address, length)?;
    let total = pieces.iter().map(|(_, length)| length).sum();
    PyBytes::new_with(py, total, |mut bytes| {
        for (physical, length) in pieces {
            let (piece, rest) = bytes.split_at_mut(length);
            let read = board.memory().read(physical, piece);
            read.map_err(|error| errors::memory(py, &error))?;
            bytes = rest;
        }
        Ok(())
    })
}

pub fn write_virtual(
    py: Python<'_>,
    board: &mut Board,
    address: u64,
    mut data: &[u8],
) -> PyResult<()> {
    for (physical, length) in translate(py, board, address, data.len() as u64)? {
        let (piece, rest) = data.split_at(length);
        let written = board.memory().write(physical, piece);
        written.map_err(|error| errors::memory(py, &error))?;
        data = rest;
    }
    board.hart().flush();
    Ok(())
}

/// Translate a range of virtual addresses, all of it before any byte is touched.
fn translate(py: Python<'_>, board: &mut Board, address: u64, length: u64) -> PyResult<Vec<Piece>> {
    if length > VIRTUAL_MAX {
        return Err(refusal(py, address, length, "is longer than 16 MiB"));
    }
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < length {
        let at = address.wrapping_add(done);
        let piece = (length - done).min(PAGE - at % PAGE);
        let found = board.hart().translate(at);
        let ram = |physical: &u64| board.memory().contains(*physical, piece);
        let Some(physical) = found.filter(ram) else {
            return Err(refusal(py, at, piece, "is not mapped to RAM"));
        };
        // At most a page.
        pieces.push((physical, usize::try_from(piece).unwrap_or_default()));
        done += piece;
    }
    Ok(pieces)
}

fn refusal(py: Python<'_>, address: u64, length: u64, why: &str) -> PyErr {
    let message = format!("{length} bytes at {address:#x}: the range {why}");
    errors::raise(py, Exception::MemoryRefused, &message)
}
