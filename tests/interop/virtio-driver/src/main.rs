//! Drives a disk over vhost-user by the crate `virtio-driver`.
//!
//! Usage: `virtmesh-interop SOCKET split|packed` verifies a disk of 8 MiB or more, whose contents
//! are lost. `virtmesh-interop SOCKET bench` measures a disk as the lines of standard input say.

mod bench;
mod connect;
mod histogram;
mod verify;

use std::env;

use connect::Outcome;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [path, kind] if kind == "split" => verify::verify(path, false),
        [path, kind] if kind == "packed" => verify::verify(path, true),
        [path, kind] if kind == "bench" => bench::bench(path),
        _ => Err("usage: virtmesh-interop SOCKET split|packed|bench".into()),
    }
}
