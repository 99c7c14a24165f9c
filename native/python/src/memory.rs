//! Guest memory.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use virtmesh_ring::{GuestRam, RegionSpec, RingMemory};

use crate::errors;
use crate::exceptions::Exception;

/// More regions than any guest memory has. `GuestRam::map` checks its own limit.
const REGIONS_TAKEN: usize = 64;

/// Guest physical memory.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct GuestMemory {
    pub ram: GuestRam,
}

#[pymethods]
impl GuestMemory {
    #[new]
    fn new(py: Python<'_>, regions: &Bound<'_, PyAny>) -> PyResult<Self> {
        let ram = GuestRam::map(&region_specs(py, regions)?);
        ram.map(|ram| Self { ram })
            .map_err(|error| errors::memory(py, &error))
    }

    #[getter]
    fn size(&self) -> u64 {
        self.ram.size()
    }

    #[getter]
    fn lost_fd(&self) -> Option<RawFd> {
        self.ram.lost().map(|event| event.as_raw_fd())
    }

    fn read<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        // Checked before memory is allocated for it.
        let checked = usize::try_from(length)
            .ok()
            .filter(|_| self.ram.contains(address, length));
        let Some(checked) = checked else {
            let message =
                format!("a read of {length} bytes at {address:#x} is outside guest memory");
            return Err(errors::raise(py, Exception::MemoryRefused, &message));
        };
        PyBytes::new_with(py, checked, |bytes| {
            self.ram
                .read(address, bytes)
                .map_err(|error| errors::memory(py, &error))
        })
    }

    fn write(&self, py: Python<'_>, address: u64, data: &[u8]) -> PyResult<()> {
        self.ram
            .write(address, data)
            .map_err(|error| errors::memory(py, &error))
    }
}

/// Convert a sequence of (descriptor, guest address, size, offset in the file).
pub fn region_specs<'fd>(
    py: Python<'fd>,
    regions: &Bound<'_, PyAny>,
) -> PyResult<Vec<RegionSpec<'fd>>> {
    // Converted one by one, so an endless or huge sequence costs nothing.
    regions
        .try_iter()?
        .take(REGIONS_TAKEN)
        .map(|region| {
            let (descriptor, guest_address, size, file_offset) =
                region?.extract::<(RawFd, u64, u64, u64)>()?;
            check_open(py, descriptor)?;
            // SAFETY: it is open, and the caller keeps it open during the call, which holds the GIL.
            let fd = unsafe { BorrowedFd::borrow_raw(descriptor) };
            Ok(RegionSpec {
                fd,
                guest_address,
                size,
                file_offset,
            })
        })
        .collect()
}

/// Refuse a number that is not an open descriptor.
pub fn check_open(py: Python<'_>, descriptor: RawFd) -> PyResult<()> {
    // SAFETY: F_GETFD takes no pointers; a number that is not open gives EBADF.
    if descriptor < 0 || unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        let message = format!("descriptor {descriptor} is not open");
        return Err(errors::raise(py, Exception::MemoryRefused, &message));
    }
    Ok(())
}
