//! The faults that were ordered of a device.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_device::{FAULTS_MAX, FaultKind, Rule, Scope, Trigger};

/// Faults on demand of one device.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Faults {
    pub inner: Arc<virtmesh_device::Faults>,
}

#[pymethods]
impl Faults {
    #[classattr]
    const MAX: usize = FAULTS_MAX;

    #[pyo3(signature = (kind, *, seed, queue=None, types=0, sectors=None, after=0, every=1, probability=1.0, limit=0))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by keyword")]
    fn add(
        &self,
        kind: u8,
        seed: u64,
        queue: Option<u8>,
        types: u32,
        sectors: Option<(u64, u64)>,
        after: u64,
        every: u64,
        probability: f64,
        limit: u64,
    ) -> PyResult<Option<u32>> {
        let kind = FaultKind::from_number(kind)
            .ok_or_else(|| PyValueError::new_err(format!("{kind} is no kind of fault")))?;
        let scope = Scope {
            queue,
            types,
            sectors,
        };
        let trigger = Trigger {
            after,
            every,
            probability,
            limit,
            seed,
        };
        Ok(self.inner.add(Rule {
            kind,
            scope,
            trigger,
        }))
    }

    /// Events seen and events taken.
    fn remove(&self, number: u32) -> Option<(u64, u64)> {
        let state = self.inner.remove(number)?;
        Some((state.seen, state.hits))
    }

    /// Number, events seen and events taken of each.
    fn list(&self) -> Vec<(u32, u64, u64)> {
        let states = self.inner.list();
        states
            .into_iter()
            .map(|state| (state.id, state.seen, state.hits))
            .collect()
    }

    #[getter]
    fn taken(&self) -> u64 {
        self.inner.taken()
    }
}
