//! Floating point against the host's floats, against itself, and at points where others went wrong.

mod cases;
mod directed;
mod host;
mod operands;
mod single_by_double;
