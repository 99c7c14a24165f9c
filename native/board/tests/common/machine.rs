//! A board with a program, and scripted devices in its slots.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use virtmesh_board::{Board, Exit, Kind, Options, Rule};
use virtmesh_device::EventFd;
use virtmesh_hart::Time;
use virtmesh_ring::{GuestRam, RegionSpec};

use super::{Answer, Request, pair, receive, send};

pub const RAM: u64 = 0x8000_0000;
const SIZE: u64 = 1 << 16;
/// First virtio slot, as a number for `lui`.
pub const SLOT_UPPER: u32 = 0x10001;
pub const SLOT: u64 = 0x1000_1000;

/// Guest memory of one region.
pub fn memory() -> GuestRam {
    // SAFETY: the name is a valid string.
    let fd = unsafe { libc::memfd_create(c"ram".as_ptr(), libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0);
    // SAFETY: the call above made it, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let file = File::from(fd);
    file.set_len(SIZE).unwrap();
    // SAFETY: F_ADD_SEALS takes no pointers.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    assert_eq!(sealed, 0);
    let region = RegionSpec {
        fd: file.as_fd(),
        guest_address: RAM,
        size: SIZE,
        file_offset: 0,
    };
    GuestRam::map(&[region]).unwrap()
}

/// A board whose hart is about to run a program.
pub fn board(rule: Rule, program: &[u32]) -> Board {
    board_with_time(rule, Time::Real { hz: 10_000_000 }, program)
}

pub fn board_with_time(rule: Rule, time: Time, program: &[u32]) -> Board {
    let memory = memory();
    let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(RAM, &bytes).unwrap();
    let options = Options {
        address: RAM,
        size: SIZE,
        rule,
        time,
    };
    let mut board = Board::new(memory, options).unwrap();
    board.reset(RAM, 0, 0);
    assert_eq!(board.add_slot(SLOT, 0x1000, 1, Kind::Virtio), Ok(0));
    board
}

/// Run without a limit, and without signals.
pub fn run(board: &mut Board) -> Exit {
    board.run(0, &mut || false)
}

/// A device in a thread of its own.
pub struct Device {
    /// By which it says that its line changed.
    pub line: EventFd,
    /// The requests that it got.
    pub requests: Receiver<Request>,
    driver: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// A device that answers as it is told. `None` ends the connection.
    pub fn start(mut answer: impl FnMut(&Request) -> Option<Answer> + Send + 'static) -> Self {
        let (driver, device) = pair();
        let (sender, requests) = channel();
        let thread = thread::spawn(move || {
            loop {
                let packet = receive(&device);
                if packet.is_empty() {
                    return;
                }
                let request = Request::decode(&packet);
                let Some(answer) = answer(&request) else {
                    return;
                };
                let tag = request.tag;
                // The test may not look at them.
                let _ = sender.send(request);
                send(&device, &Answer { tag, ..answer }.encode());
            }
        });
        Self {
            line: EventFd::new().unwrap(),
            requests,
            driver,
            thread: Some(thread),
        }
    }

    /// A device that answers each access with this value, with its line down.
    pub fn with_value(value: u64) -> Self {
        Self::start(move |request| Some(answer_all(request, value)))
    }

    pub fn connect(&self, board: &mut Board, slot: usize, kicks: &[&EventFd]) {
        let kicks: Vec<_> = kicks.iter().map(|kick| kick.as_fd().as_raw_fd()).collect();
        let line = self.line.as_fd().as_raw_fd();
        board
            .connect(slot, self.driver.as_fd(), line, &kicks)
            .unwrap();
    }

    /// Wait for the thread. The board must have let go of the connection, or the device ended it.
    pub fn join(mut self) {
        let thread = self.thread.take();
        drop(self.driver);
        thread.unwrap().join().unwrap();
    }
}

/// An answer to all accesses of a request.
pub fn answer_all(request: &Request, value: u64) -> Answer {
    Answer {
        values: vec![value; request.accesses.len()],
        ..Answer::default()
    }
}
