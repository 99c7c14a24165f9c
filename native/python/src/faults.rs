//! The faults that were ordered of a device.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use virtmesh_device::{DELAY_MAX_US, Delay, FAULTS_MAX, FaultKind, Rule, Scope, State, Trigger};

/// A delay in microseconds: from, to, and the mean of an exponential one.
type Micros = (u64, u64, u64);
/// A fault: number, events seen, taken and held back, and what it did last.
type Row = (u32, u64, u64, usize, String);

fn row(state: State) -> Row {
    (state.id, state.seen, state.hits, state.held, state.last)
}

/// Faults on demand of one device.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Faults {
    pub inner: Arc<virtmesh_device::Faults>,
}

#[pymethods]
impl Faults {
    #[classattr]
    const MAX: usize = FAULTS_MAX;

    #[classattr]
    const DELAY_MAX_US: u64 = DELAY_MAX_US;

    #[pyo3(signature = (kind, *, seed, queue=None, types=0, sectors=None, after=0, every=1, probability=1.0, limit=0, delay=None, size=None))]
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
        delay: Option<Micros>,
        size: Option<u64>,
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
            delay: delay.map(|(low, high, mean)| match mean {
                0 => Delay::Uniform(low, high),
                _ => Delay::Exponential(mean),
            }),
            bytes: size,
        }))
    }

    fn remove(&self, number: u32) -> Option<Row> {
        self.inner.remove(number).map(row)
    }

    fn list(&self) -> Vec<Row> {
        self.inner.list().into_iter().map(row).collect()
    }

    fn are_ordered(&self, kinds: u64) -> bool {
        self.inner.are_ordered(kinds)
    }

    /// Seconds.
    fn pause(&self, number: u32) -> Option<f64> {
        let pause = self.inner.pause(number)?;
        Some(pause.as_secs_f64())
    }
}
