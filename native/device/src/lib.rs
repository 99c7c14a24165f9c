//! What native devices share beside the rings: the interrupt, the eventfds of a driver, the register
//! channel, the flight recorder, and faults on demand.
//!
//! The driver shares the open file of an eventfd that it handed over. It may fill or drain the counter
//! and may clear `O_NONBLOCK` at any time, so nothing here relies on the flag: [`Kick`] is read with
//! `RWF_NOWAIT`, [`Call`] is signalled by the kernel ([`Signaller`]), or by a thread that nobody waits for.
//! Neither can make the device wait. Descriptors of strangers are closed on other threads ([`close_later`]).

mod closer;
mod eventfd;
mod faults;
mod helper;
mod interrupt;
mod recorder;
mod register_channel;
mod signaller;
mod sync;
mod trace_event;
mod violations;

pub use closer::{close_later, close_number_later, is_unix_stream, unclosed};
pub use eventfd::{Call, EventFd, EventfdError, Kick, wait_readable};
pub use faults::{
    About, DELAY_MAX_US, Delay, FAULTS_MAX, FaultKind, Faults, Held, Hit, Rule, Scope, State,
    Trigger, call_after, release_after,
};
pub use interrupt::{INTERRUPT_CONFIG_CHANGE, INTERRUPT_USED_BUFFER, Interrupt, QUEUE_LIMIT};
pub use recorder::{CAPACITY_MAX, NOTE_BYTES, NOTES_KEPT, Page, Record, Recorder, now};
pub use register_channel::{ChannelError, ENTRY_LIMIT, Entry, RegisterChannel, Request};
pub use signaller::Signaller;
pub use trace_event::{EventKind, NOTIFY_WAY_EVENTFD, SMALL_MAX, TraceEvent};
pub use violations::{RULES_MAX, Violation, Violations};
