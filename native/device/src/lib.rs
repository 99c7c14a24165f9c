//! What every native device needs beside its rings: the interrupt it raises, and the doorbells that
//! wake it.
//!
//! A doorbell that came from a driver is an eventfd whose open file the driver shares. It may fill
//! or drain the counter and may clear `O_NONBLOCK` at any time, so nothing here relies on the flag:
//! [`Kick`] is read with `RWF_NOWAIT`, [`Call`] is signalled by the kernel ([`Signaller`]). Neither
//! can make the device wait.

mod eventfd;
mod interrupt;
mod signaller;

pub use eventfd::{Call, DoorbellError, Event, Kick, wait_readable};
pub use interrupt::{INTERRUPT_CONFIG, INTERRUPT_USED, Interrupt, QUEUE_LIMIT};
pub use signaller::Signaller;
