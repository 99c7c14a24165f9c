//! Signals a driver's eventfd without ever waiting for the driver.
//!
//! `write` to an eventfd waits at a full counter unless `O_NONBLOCK` is set; the flag belongs to the
//! open file, which the driver shares and may clear between our check and our write, and
//! `RWF_NOWAIT` does not exist for writes to eventfds. So the kernel signals for us: an asynchronous
//! read of 0 bytes from /dev/null completes at once and, with `IOCB_FLAG_RESFD`, adds 1 to an eventfd
//! on a kernel path that never waits. It costs 0.5 us more than a write.
//!
//! Without kernel AIO (not built in, forbidden, or used up: `fs.aio-max-nr` is one number for the whole
//! host) a thread writes, and may wait (see `helper`).

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::eventfd::{Bell, Call};
use crate::helper::Helper;

/// Completions that the kernel stores before they have to be consumed.
const COMPLETIONS: u32 = 64;
/// `IOCB_CMD_PREAD` of `linux/aio_abi.h`.
const IOCB_CMD_PREAD: u16 = 0;
/// `IOCB_FLAG_RESFD` of `linux/aio_abi.h`.
const IOCB_FLAG_RESFD: u32 = 1;

/// `struct io_event` of `linux/aio_abi.h`: data, obj, res, res2. Its content is not used here.
type IoEvent = [u64; 4];

/// Most threads that are given up, since they wait at eventfds that are never emptied.
const GIVEN_UP_MAX: usize = 16;

/// Signals eventfds.
#[derive(Debug)]
pub struct Signaller {
    context: Option<Context>,
    /// Signals where the kernel does not.
    helper: Mutex<Option<Helper>>,
    given_up: AtomicUsize,
}

impl Signaller {
    /// Make one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            context: Context::new().ok(),
            helper: Mutex::new(None),
            given_up: AtomicUsize::new(0),
        }
    }

    /// Add 1 to the eventfd, or send it to the socket. The only failure is a full counter or buffer:
    /// the driver has a signal waiting already.
    pub fn signal(&self, call: &Call) {
        let one = 1_u64.to_ne_bytes();
        match call {
            Call::Eventfd(bell) => {
                let signalled = self
                    .context
                    .as_ref()
                    .is_some_and(|context| context.signal(bell).is_ok());
                if !signalled {
                    self.signal_by_thread(bell);
                }
            }
            Call::Socket(socket) => {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                let socket = socket.as_fd().as_raw_fd();
                // SAFETY: the buffer is valid for its length.
                unsafe { libc::send(socket, one.as_ptr().cast(), one.len(), flags) };
            }
        }
    }

    /// Forget a call whose driver goes, or gave another one.
    pub fn forget(&self, call: &Call) {
        let Call::Eventfd(bell) = call else { return };
        let mut helper = self.helper();
        let freed = helper.as_ref().is_none_or(|helper| helper.forget(bell));
        if !freed && self.given_up.fetch_add(1, Ordering::Relaxed) < GIVEN_UP_MAX {
            // It ends when somebody empties the counter. The next signal starts another one.
            *helper = None;
        }
    }

    fn signal_by_thread(&self, bell: &Arc<Bell>) {
        let mut helper = self.helper();
        if helper.is_none() {
            *helper = Helper::start();
        }
        if let Some(helper) = &*helper {
            helper.signal(bell);
        }
    }

    fn helper(&self) -> MutexGuard<'_, Option<Helper>> {
        // Nothing panics while it is held.
        self.helper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Signaller {
    fn default() -> Self {
        Self::new()
    }
}

/// A kernel AIO context.
#[derive(Debug)]
struct Context {
    id: libc::c_ulong,
    null: File,
    /// Submissions since the completions were last taken.
    submitted: AtomicU32,
}

impl Context {
    fn new() -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let mut id: libc::c_ulong = 0;
        // Twice the number that is ever left unconsumed, so racing threads find room.
        // SAFETY: id is valid for a write.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, 2 * COMPLETIONS, &raw mut id) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            id,
            null,
            submitted: AtomicU32::new(0),
        })
    }

    fn signal(&self, bell: &Bell) -> io::Result<()> {
        if self.submitted.fetch_add(1, Ordering::Relaxed) % COMPLETIONS == COMPLETIONS - 1 {
            self.take_completions();
        }
        // SAFETY: all zeroes is a valid control block.
        let mut block: libc::iocb = unsafe { MaybeUninit::zeroed().assume_init() };
        block.aio_lio_opcode = IOCB_CMD_PREAD;
        block.aio_fildes = self.null.as_raw_fd().cast_unsigned();
        block.aio_flags = IOCB_FLAG_RESFD;
        block.aio_resfd = bell.as_fd().as_raw_fd().cast_unsigned();
        let mut list = [&raw mut block];
        // SAFETY: the list holds one valid control block, which the kernel copies before it
        // returns; the read is of no bytes, so no buffer is needed.
        let result = unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1, list.as_mut_ptr()) };
        if result == 1 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn take_completions(&self) {
        let mut events = [MaybeUninit::<IoEvent>::uninit(); COMPLETIONS as usize];
        // With a minimum of 0 it returns the stored completions. Their content is not needed.
        // SAFETY: the kernel writes at most the given number of events into the array.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0,
                COMPLETIONS,
                events.as_mut_ptr(),
                ptr::null::<libc::timespec>(),
            )
        };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nothing uses it after this.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::eventfd::{EventFd, wait_readable};

    fn event_and_call() -> (EventFd, Call) {
        let event = EventFd::new().unwrap();
        let call = Call::duplicate(event.as_fd().as_raw_fd()).unwrap();
        (event, call)
    }

    fn counter(event: &EventFd) -> u64 {
        let mut bytes = [0_u8; 8];
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::read(event.as_fd().as_raw_fd(), bytes.as_mut_ptr().cast(), 8) };
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn each_signal_adds_one() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        for _ in 0..1000 {
            signaller.signal(&call);
        }
        assert_eq!(counter(&event), 1000);
    }

    fn without_aio() -> Signaller {
        Signaller {
            context: None,
            ..Signaller::new()
        }
    }

    fn fill(event: &EventFd) {
        let full = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: the buffer is valid for its length; F_SETFL takes no pointers.
        unsafe {
            libc::write(event.as_fd().as_raw_fd(), full.as_ptr().cast(), full.len());
            libc::fcntl(event.as_fd().as_raw_fd(), libc::F_SETFL, 0);
        }
    }

    #[test]
    fn it_works_without_kernel_aio() {
        let (event, call) = event_and_call();
        let signaller = without_aio();
        for _ in 0..3 {
            signaller.signal(&call);
            assert_eq!(wait_readable([event.as_fd()]).unwrap(), [true]);
            assert!(counter(&event) > 0);
        }
    }

    #[test]
    fn a_full_counter_keeps_a_thread_waiting_and_no_caller() {
        let (event, call) = event_and_call();
        fill(&event);
        let signaller = without_aio();
        (0..3).for_each(|_| signaller.signal(&call));
        assert_eq!(wait_readable([event.as_fd()]).unwrap(), [true]);
    }

    #[test]
    fn the_next_driver_is_signalled_after_one_that_filled_its_counter() {
        let signaller = without_aio();
        for _ in 0..2 * GIVEN_UP_MAX {
            let (event, call) = event_and_call();
            fill(&event);
            signaller.signal(&call);
            signaller.forget(&call);
            let (event, call) = event_and_call();
            signaller.signal(&call);
            assert_eq!(wait_readable([event.as_fd()]).unwrap(), [true]);
            signaller.forget(&call);
        }
    }

    #[test]
    fn a_socket_is_sent_eight_bytes_until_it_is_full_or_closed() {
        let (mut driver, device) = UnixStream::pair().unwrap();
        let call = Call::duplicate(device.as_raw_fd()).unwrap();
        let signaller = Signaller::new();
        for _ in 0..100_000 {
            signaller.signal(&call);
        }
        let mut bytes = [0_u8; 8];
        driver.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 1);
        drop(driver);
        signaller.signal(&call);
    }

    #[test]
    fn threads_may_signal_at_once() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5000).for_each(|_| signaller.signal(&call)));
            }
        });
        assert_eq!(counter(&event), 20_000);
    }

    #[test]
    fn a_full_counter_made_blocking_later_does_not_make_it_wait() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        assert!(signaller.context.is_some(), "this test needs kernel AIO");
        fill(&event);
        (0..3).for_each(|_| signaller.signal(&call));
        assert_eq!(wait_readable([event.as_fd()]).unwrap(), [true]);
    }
}
