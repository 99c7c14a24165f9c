//! The memory of a vhost-user front end.

use std::os::fd::{AsRawFd, RawFd};

use pyo3::prelude::*;

use crate::errors;
use crate::memory::{GuestMemory, region_specs};

/// Guest memory from files that may shrink.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct FrontEndMemory {
    inner: virtmesh_vhost::FrontEndMemory,
}

#[pymethods]
impl FrontEndMemory {
    #[new]
    fn new(py: Python<'_>, regions: &Bound<'_, PyAny>) -> PyResult<Self> {
        virtmesh_vhost::FrontEndMemory::map(&region_specs(py, regions)?)
            .map(|inner| Self { inner })
            .map_err(|error| errors::memory(py, &error))
    }

    #[getter]
    fn guest_memory(&self) -> GuestMemory {
        let ram = self.inner.ram().clone();
        GuestMemory { ram }
    }

    #[getter]
    fn lost_fd(&self) -> RawFd {
        self.inner.lost().as_raw_fd()
    }
}
