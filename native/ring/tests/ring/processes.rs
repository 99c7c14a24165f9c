//! Driver and device as two processes that share a sealed memfd and two eventfds.

use std::env;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;

use crate::common::{Rig, map, memfd};
use crate::peers::{Bell, DriverPeer, Random, data_bytes, give_back, take_chains};

const CHAINS: u64 = 20_000;
const SIZE: u16 = 32;
/// Where the device process finds the numbers of its descriptors.
const DESCRIPTORS: &str = "VIRTMESH_RING_TEST_DESCRIPTORS";
/// Where it finds whether the ring is packed.
const PACKED: &str = "VIRTMESH_RING_TEST_PACKED";

fn rig(memory: &OwnedFd, packed: bool) -> Rig {
    let bytes = Rig::bytes(SIZE, data_bytes(SIZE));
    Rig::at(map(memory, bytes), bytes, SIZE, true, true).packed(packed)
}

/// Another number for a descriptor, one that a child process inherits.
fn inheritable(fd: &impl AsRawFd) -> OwnedFd {
    // SAFETY: dup touches no memory of this process.
    let copy = unsafe { libc::dup(fd.as_raw_fd()) };
    assert!(copy >= 0, "dup: {}", std::io::Error::last_os_error());
    // SAFETY: the call above made the descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

#[test]
fn driver_and_device_may_be_two_processes() {
    run(false);
}

#[test]
fn driver_and_device_of_a_packed_ring_may_be_two_processes() {
    run(true);
}

/// Play the driver to a device in another process.
fn run(packed: bool) {
    let memory = memfd(Rig::bytes(SIZE, data_bytes(SIZE)), libc::F_SEAL_SHRINK);
    let (kick, call) = (Bell::new(), Bell::new());
    let rig = rig(&memory, packed);
    let queue = rig.driver();
    let passed = [inheritable(&memory), inheritable(&kick), inheritable(&call)];
    let numbers = passed
        .each_ref()
        .map(|fd| fd.as_raw_fd().to_string())
        .join(",");
    let mut device = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::device_process",
            "--ignored",
            "--quiet",
        ])
        .env(DESCRIPTORS, numbers)
        .env(PACKED, packed.to_string())
        .spawn()
        .unwrap();
    drop(passed);
    let (kick, call) = (&kick, &call);
    DriverPeer {
        rig,
        queue,
        kick,
        call,
        random: Random(11),
    }
    .run(CHAINS);
    assert!(device.wait().unwrap().success());
}

#[test]
#[ignore = "the device's half of the tests above, which start it"]
fn device_process() {
    let numbers = env::var(DESCRIPTORS).expect("started by the other half");
    let adopted: Vec<OwnedFd> = numbers
        .split(',')
        .map(|number| number.parse::<RawFd>().unwrap())
        // SAFETY: the parent passed these descriptors for us to own.
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect();
    let [memory, kick, call] = <[OwnedFd; 3]>::try_from(adopted).unwrap();
    let (kick, call) = (Bell::from_fd(kick), Bell::from_fd(call));
    let packed = env::var(PACKED).unwrap().parse().unwrap();
    let rig = rig(&memory, packed);
    let (mut consumer, mut producer) = rig.device().split();
    take_chains(
        &mut consumer,
        &kick,
        usize::try_from(CHAINS).unwrap(),
        |batch| {
            give_back(&mut producer, &rig.memory, &call, &batch);
        },
    );
}
