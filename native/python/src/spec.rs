//! Constants of the specification, for comparison with the tables of Python.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use virtmesh_device::{INTERRUPT_CONFIG_CHANGE, INTERRUPT_USED_BUFFER};
use virtmesh_ring::layout;

/// The name and value of each constant of the specification that the native code uses.
#[pyfunction]
pub fn spec_constants() -> BTreeMap<&'static str, u64> {
    let interrupt_status: &[(&str, u64)] = &[
        ("INTERRUPT_USED_BUFFER", INTERRUPT_USED_BUFFER.into()),
        ("INTERRUPT_CONFIG_CHANGE", INTERRUPT_CONFIG_CHANGE.into()),
    ];
    let tables = [
        interrupt_status,
        layout::SPEC_CONSTANTS,
        layout::packed::SPEC_CONSTANTS,
        virtmesh_blk::spec::SPEC_CONSTANTS,
    ];
    tables.concat().into_iter().collect()
}

/// Names of the rules for drivers that native code judges.
#[pyfunction]
pub fn judged_rules() -> Vec<&'static str> {
    let mut rules = virtmesh_ring::RULES.to_vec();
    rules.extend(virtmesh_blk::rules::RULES);
    rules
}
