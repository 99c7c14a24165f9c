//! The in-flight log of a queue.

use pyo3::prelude::*;
use virtmesh_ring::LogRegion;
use virtmesh_ring::layout::inflight::region_len;

use crate::errors;
use crate::memory::GuestMemory;

/// The location of the in-flight log of one queue.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct InFlightLog {
    pub region: LogRegion,
}

#[pymethods]
impl InFlightLog {
    #[new]
    fn new(memory: &GuestMemory, address: u64, capacity: u16) -> Self {
        let memory = memory.ram.clone();
        let region = LogRegion {
            memory,
            address,
            capacity,
        };
        Self { region }
    }

    #[staticmethod]
    #[pyo3(signature = (capacity, *, packed))]
    fn length(capacity: u16, packed: bool) -> u64 {
        region_len(packed, capacity)
    }

    #[getter]
    fn in_use(&self, py: Python<'_>) -> PyResult<bool> {
        self.region
            .in_use()
            .map_err(|error| errors::config(py, &error))
    }

    #[pyo3(signature = (*, packed))]
    fn in_flight(&self, py: Python<'_>, packed: bool) -> PyResult<usize> {
        self.region
            .in_flight(packed)
            .map_err(|error| errors::config(py, &error))
    }

    fn forget(&self, py: Python<'_>) -> PyResult<()> {
        self.region
            .forget()
            .map_err(|error| errors::config(py, &error))
    }
}
