//! Eventfds that another process has as well, and that this one signals.

use std::collections::HashMap;
use std::os::fd::RawFd;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use virtmesh_device::{Call, Signaller};

use crate::errors;

/// Eventfds by number. Signalling never waits for who shares them.
#[pyclass(module = "virtmesh_native", frozen)]
pub struct Bells {
    signaller: Signaller,
    calls: HashMap<u32, Call>,
}

#[pymethods]
impl Bells {
    #[new]
    fn new(py: Python<'_>, descriptors: HashMap<u32, RawFd>) -> PyResult<Self> {
        let calls = descriptors.into_iter().map(|(number, descriptor)| {
            Call::duplicate(descriptor)
                .map(|call| (number, call))
                .map_err(|error| errors::eventfd(py, &error))
        });
        Ok(Self {
            calls: calls.collect::<PyResult<_>>()?,
            signaller: Signaller::new(),
        })
    }

    fn ring(&self, number: u32) -> PyResult<()> {
        let call = self.calls.get(&number);
        self.signaller
            .signal(call.ok_or_else(|| PyKeyError::new_err(number))?);
        Ok(())
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        for call in self.calls.values() {
            self.signaller.forget(call);
        }
    }
}
