//! The flight recorder.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use virtmesh_device::{CAPACITY_MAX, EventKind, Record, SMALL_MAX, TraceEvent};

/// Set in an op for a write (register.proto).
const WRITE: u8 = 0x80;
/// Set in an op for a guard (register.proto).
const GUARD: u8 = 0x40;
/// Most events of one page.
const PAGE_MAX: usize = 4096;

/// A page: first number, lost, columns (times, kinds, details, queues, tokens, values, extras), and
/// texts by number.
type Page<'py> = (u64, u64, [Bound<'py, PyBytes>; 7], Vec<(u64, String)>);

/// The last events of one device.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Recorder {
    pub inner: Arc<virtmesh_device::Recorder>,
}

#[pymethods]
impl Recorder {
    #[classattr]
    const CAPACITY_MAX: usize = CAPACITY_MAX;
    #[classattr]
    const PAGE_MAX: usize = PAGE_MAX;

    #[new]
    fn new(capacity: usize) -> PyResult<Self> {
        if capacity > CAPACITY_MAX {
            let message = format!("a recorder of {capacity} events: give at most {CAPACITY_MAX}");
            return Err(PyValueError::new_err(message));
        }
        Ok(Self {
            inner: Arc::new(virtmesh_device::Recorder::new(capacity)),
        })
    }

    #[getter]
    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    #[getter]
    fn oldest(&self) -> u64 {
        self.inner.oldest()
    }

    #[getter]
    fn next(&self) -> u64 {
        self.inner.next()
    }

    #[staticmethod]
    fn kinds(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let names = PyDict::new(py);
        for (kind, name) in EventKind::ALL {
            names.set_item(name, *kind as u8)?;
        }
        Ok(names)
    }

    #[pyo3(signature = (kind, *, detail=0, queue=0, token=0, value=0, extra=0, text=None))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by keyword")]
    fn record(
        &self,
        kind: u8,
        detail: u8,
        queue: u8,
        token: u32,
        value: u64,
        extra: u64,
        text: Option<&str>,
    ) -> PyResult<()> {
        let event = TraceEvent {
            token,
            value,
            extra,
            ..event(kind, detail, queue)?
        };
        match text {
            Some(text) => {
                self.inner.record_note(event, text);
            }
            None => self.inner.record(event),
        }
        Ok(())
    }

    fn record_registers(
        &self,
        time_ns: u64,
        offsets: &Bound<'_, PyList>,
        ops: &Bound<'_, PyList>,
        values: &Bound<'_, PyList>,
        results: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        let columns = offsets.iter().zip(ops).zip(values).zip(results);
        let events = columns
            .map(|(((offset, op), value), result)| {
                let (offset, op) = (offset.extract()?, op.extract()?);
                Ok(access(offset, op, value.extract()?, result.extract()?))
            })
            .collect::<PyResult<Vec<_>>>()?;
        self.inner.record_at(time_ns, events);
        Ok(())
    }

    fn read<'py>(&self, py: Python<'py>, from_sequence: u64, limit: usize) -> Page<'py> {
        let page = py.detach(|| self.inner.read(from_sequence, limit.min(PAGE_MAX)));
        let records = &page.records;
        let columns = [
            wide(py, records, |record| record.time_ns),
            narrow(py, records, |event| event.kind as u8),
            narrow(py, records, |event| event.detail),
            narrow(py, records, |event| event.queue),
            column(py, records, |record| record.event.token.to_le_bytes()),
            wide(py, records, |record| record.event.value),
            wide(py, records, |record| record.event.extra),
        ];
        (page.first, page.lost, columns, page.notes)
    }
}

/// Make an event of the fields that all events have, checked.
pub fn event(kind: u8, detail: u8, queue: u8) -> PyResult<TraceEvent> {
    match EventKind::from_number(kind) {
        Some(kind) if detail <= SMALL_MAX && queue <= SMALL_MAX => Ok(TraceEvent {
            detail,
            queue,
            ..TraceEvent::new(kind)
        }),
        Some(_) => Err(PyValueError::new_err(format!(
            "detail {detail}, queue {queue}: neither may be above {SMALL_MAX}"
        ))),
        None => Err(PyValueError::new_err(format!(
            "event kind {kind} does not exist: give one of Recorder.kinds()"
        ))),
    }
}

/// One access of a batch that was executed.
fn access(offset: u32, op: u8, value: u64, result: u64) -> TraceEvent {
    let write = op & WRITE != 0;
    let kind = if write {
        EventKind::RegisterWrite
    } else {
        EventKind::RegisterRead
    };
    TraceEvent {
        detail: op & SMALL_MAX,
        token: offset,
        value: if write { value } else { result },
        extra: if !write && op & GUARD != 0 { value } else { 0 },
        ..TraceEvent::new(kind)
    }
}

/// A column of numbers, little-endian.
fn column<'py, const N: usize>(
    py: Python<'py>,
    records: &[Record],
    field: impl Fn(&Record) -> [u8; N],
) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &records.iter().flat_map(field).collect::<Vec<_>>())
}

fn wide<'py>(
    py: Python<'py>,
    records: &[Record],
    field: impl Fn(&Record) -> u64,
) -> Bound<'py, PyBytes> {
    column(py, records, |record| field(record).to_le_bytes())
}

fn narrow<'py>(
    py: Python<'py>,
    records: &[Record],
    field: impl Fn(&TraceEvent) -> u8,
) -> Bound<'py, PyBytes> {
    column(py, records, |record| [field(&record.event)])
}
