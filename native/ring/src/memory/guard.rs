//! Surviving memory that goes away under its mapping.
//!
//! An access behind the end of a mapped file raises SIGBUS, as does one to a page of hugetlbfs that
//! somebody punched out when the pool has no other. Behind virtio-mmio only sealed files are accepted,
//! which can't become shorter, but no seal that leaves them writable keeps huge pages in them. vhost-user
//! front ends pass what they have: user-mode Linux a plain file, QEMU whatever it was told. So the ranges
//! of such memory are written down here, and the signal handler puts zeroed memory in the place of a range
//! that faults: the access goes on, and whoever watches the range's event ends the connection. What is
//! written from then on is lost with it.
//!
//! Invariant: a slot is changed only under `REGISTER`, and its version is odd meanwhile; the handler
//! reads slots without locks and passes over one that changes. A range that is being accessed is never
//! in a slot that changes: it is written down before its first access, and crossed out after its last.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use virtmesh_device::EventFd;

/// Ranges that can be guarded at a time. A device has one front end, whose memory has at most 32
/// regions, two tables of them while they change, and an in-flight log; and at most 8 drivers hand over
/// 8 regions and a log each.
const SLOTS: usize = 256;

static TABLE: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
static REGISTER: Mutex<()> = Mutex::new(());
static HANDLER: OnceLock<Result<Previous, i32>> = OnceLock::new();

/// One range, as the handler reads it.
struct Slot {
    /// Odd while the slot is changed.
    version: AtomicUsize,
    /// 0 when the slot is free.
    start: AtomicUsize,
    end: AtomicUsize,
    event: AtomicI32,
}

/// What handled SIGBUS before.
struct Previous(UnsafeCell<libc::sigaction>);

// SAFETY: it is written before it is shared, and only read then.
unsafe impl Sync for Previous {}
// SAFETY: it is plain data, and the function it may point to belongs to no thread.
unsafe impl Send for Previous {}

/// A guarded range of addresses of this process; crossed out when dropped.
#[derive(Debug)]
pub struct Guard {
    slot: usize,
    /// Kept open for the handler.
    _event: Arc<EventFd>,
}

impl Guard {
    /// Guard a mapping. `event` is signalled when it faults.
    ///
    /// # Errors
    /// When no slot is free, or the system takes no signal handler.
    pub fn new(range: &Range<usize>, event: Arc<EventFd>) -> io::Result<Self> {
        let installed = HANDLER.get_or_init(install).as_ref();
        installed.map_err(|&code| io::Error::from_raw_os_error(code))?;
        let _lock = lock();
        let slot = TABLE
            .iter()
            .position(|slot| slot.start.load(Ordering::Relaxed) == 0)
            .ok_or_else(|| io::Error::other(format!("{SLOTS} regions are guarded already")))?;
        TABLE[slot].set(range, event.as_fd().as_raw_fd());
        Ok(Self {
            slot,
            _event: event,
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _lock = lock();
        TABLE[self.slot].set(&(0..0), -1);
    }
}

fn lock() -> MutexGuard<'static, ()> {
    // Nothing panics while it is held.
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            event: AtomicI32::new(-1),
        }
    }

    /// Change the slot; the caller has `REGISTER`.
    fn set(&self, range: &Range<usize>, event: i32) {
        self.version.fetch_add(1, Ordering::Relaxed);
        // Race: a handler takes the start of one range and the end of another. With this fence the odd
        // version is seen by whoever sees any of the stores below.
        fence(Ordering::SeqCst);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.event.store(event, Ordering::Relaxed);
        // Release: the stores above come before the even version.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Read the slot; None when it is free or being changed.
    fn get(&self) -> Option<(Range<usize>, i32)> {
        let before = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        let event = self.event.load(Ordering::Relaxed);
        // The other half of the race in `set`: a change since `before` shows in the version.
        fence(Ordering::SeqCst);
        let after = self.version.load(Ordering::Relaxed);
        let whole = before == after && before.is_multiple_of(2) && start != 0;
        whole.then_some((start..end, event))
    }
}

/// Install the handler; returns what was there, or an error number.
fn install() -> Result<Previous, i32> {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both structures are valid, and the handler has the signature of SA_SIGINFO.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, previous.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: sigaction filled it.
    Ok(Previous(UnsafeCell::new(unsafe { previous.assume_init() })))
}

/// Handle SIGBUS. Everything called here is safe in a signal handler: atomics and system calls.
extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the location of errno is always valid; the interrupted code must find its value again.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo, which has an address for SIGBUS.
    let address = unsafe { (*info).si_addr() } as usize;
    if !replace(address) {
        restore();
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Put zeroed memory in the place of the guarded range that has the address; false when there is none.
fn replace(address: usize) -> bool {
    let found = TABLE
        .iter()
        .filter_map(Slot::get)
        .find(|(range, _)| range.contains(&address));
    let Some((range, event)) = found else {
        return false;
    };
    // SAFETY: the range is a mapping of ours that is in use, since it was accessed; it is replaced
    // whole, and all accesses to guest memory are atomic or volatile, so that nothing depends on what
    // was there.
    let mapped = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(range.start),
            range.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the buffer is valid for its length; the eventfd never blocks.
    unsafe { libc::write(event, one.as_ptr().cast(), one.len()) };
    mapped != libc::MAP_FAILED
}

/// Let the previous handler have the signal: the access faults again as soon as this one returns.
fn restore() {
    if let Some(Ok(previous)) = HANDLER.get() {
        // SAFETY: it was filled by sigaction, and nobody writes it.
        unsafe { libc::sigaction(libc::SIGBUS, previous.0.get(), ptr::null_mut()) };
    } else {
        // The handler runs before its installation was noted down: nobody else's can be known.
        // SAFETY: signal takes no pointers.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}
