//! Descriptors of strangers: what they are, and their close.

use std::os::fd::RawFd;

use pyo3::prelude::*;

/// Close a descriptor, which the caller owns, on a thread that nobody waits for.
#[pyfunction]
pub fn close_later(descriptor: RawFd) -> PyResult<()> {
    Ok(virtmesh_device::close_number_later(descriptor)?)
}

/// How many descriptors are not closed yet.
#[pyfunction]
pub fn unclosed() -> usize {
    virtmesh_device::unclosed()
}

/// Say whether a descriptor is a unix stream socket, without waiting for who shares it.
#[pyfunction]
pub fn is_unix_stream(descriptor: RawFd) -> bool {
    virtmesh_device::is_unix_stream(descriptor)
}
