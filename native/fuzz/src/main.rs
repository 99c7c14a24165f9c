//! One program with all native fuzz targets. `VIRTMESH_FUZZ_TARGET` names the one to run; without it the
//! names are printed. libFuzzer reads the command line: docs/fuzzing.md.
//!
//! | module | what it holds |
//! |---|---|
//! | `targets` | a module for each target |
//! | [`guest`] | guest memory, made once and cleared for each input |
//! | [`input`] | numbers that are wrong in few enough ways to get far |
//! | [`socket`] | a connected pair of packet sockets |
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{arbitrary, fuzz_target};

mod guest;
mod input;
mod socket;
mod targets;

/// What a target does with an input. It panics if the product breaks a promise.
type Run = fn(&mut arbitrary::Unstructured<'_>) -> arbitrary::Result<()>;

/// The targets by name, in the order of docs/fuzzing.md.
const TARGETS: [(&str, Run); 9] = [
    ("ring_split", targets::ring::split),
    ("ring_packed", targets::ring::packed),
    ("ring_driver", targets::ring_driver::run),
    ("inflight_log", targets::inflight_log::run),
    ("blk_request", targets::blk_request::run),
    ("gpu_pixels", targets::gpu_pixels::run),
    ("register_channel", targets::register_channel::run),
    ("board_channel", targets::board_channel::run),
    ("hart", targets::hart::run),
];

static TARGET: OnceLock<Run> = OnceLock::new();

/// Find the target that the environment names; print the names without one.
fn choose() {
    let name = std::env::var("VIRTMESH_FUZZ_TARGET").unwrap_or_default();
    let Some((_, run)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        for (known, _) in TARGETS {
            println!("{known}");
        }
        std::process::exit(i32::from(!name.is_empty()));
    };
    TARGET.get_or_init(|| *run);
}

fuzz_target!(init: choose(), |data: &[u8]| {
    let mut input = arbitrary::Unstructured::new(data);
    // An input that ends early has done what it could.
    let _ = TARGET.get().expect("choose() was called")(&mut input);
});
