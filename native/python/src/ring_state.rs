//! The state of a ring between two device sides.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;

/// Where a device side continues.
#[pyclass(module = "virtmesh_native", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub struct RingState {
    pub inner: virtmesh_ring::RingState,
}

#[pymethods]
impl RingState {
    #[classattr]
    const VERSION: u16 = virtmesh_ring::RingState::VERSION;

    #[staticmethod]
    #[pyo3(signature = (*, packed))]
    fn initial(packed: bool) -> Self {
        let inner = virtmesh_ring::RingState::initial(packed);
        Self { inner }
    }

    #[staticmethod]
    #[pyo3(signature = (value, *, packed, size=None))]
    fn from_vring_base(
        py: Python<'_>,
        value: u32,
        packed: bool,
        size: Option<u16>,
    ) -> PyResult<Self> {
        virtmesh_ring::RingState::from_vring_base(packed, value)
            .and_then(|inner| {
                size.map_or(Ok(()), |size| inner.validate(packed, size))?;
                Ok(Self { inner })
            })
            .map_err(|error| errors::config(py, &error))
    }

    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        virtmesh_ring::RingState::from_bytes(data)
            .map(|inner| Self { inner })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.to_bytes())
    }

    #[getter]
    fn packed(&self) -> bool {
        self.inner.is_packed()
    }

    #[getter]
    fn next_avail(&self) -> u16 {
        self.inner.next_avail()
    }

    #[getter]
    fn next_used(&self) -> Option<u16> {
        self.inner.next_used()
    }

    #[getter]
    fn avail_wrap(&self) -> Option<bool> {
        self.inner.avail_wrap()
    }

    #[getter]
    fn used_wrap(&self) -> Option<bool> {
        self.inner.used_wrap()
    }

    #[getter]
    fn vring_base(&self) -> u32 {
        self.inner.vring_base()
    }

    fn __repr__(&self) -> String {
        match self.inner {
            virtmesh_ring::RingState::Split { next_avail } => {
                format!("RingState(split, next_avail={next_avail})")
            }
            virtmesh_ring::RingState::Packed { avail, used } => format!(
                "RingState(packed, next_avail={}, avail_wrap={}, next_used={}, used_wrap={})",
                avail.index,
                python_bool(avail.wrap),
                used.index,
                python_bool(used.wrap),
            ),
        }
    }
}

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
