//! Requests to devices: one at a time, each completed before the hart goes on.

use virtmesh_device::EventKind;

use crate::access_log::{Logged, Mark, Violation};
use crate::board::Board;
use crate::channel::Lost;
use crate::quirks::{self, Plan};
use crate::slot::{Connection, Link};
use crate::wire::{COUNT_MAX, Line, Operation, Refusal};

/// A request that a device owes an answer for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub slot: usize,
    /// The access of the hart; `None` when only the line was asked for.
    pub access: Option<Logged>,
    /// What a quirk made of the access.
    pub plan: Option<Plan>,
}

/// How a wait for an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// By the notifier or a signal. The request is still under way.
    Interrupted,
    /// The slot is lost.
    Lost(usize),
}

/// Why accesses from outside the guest failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The slot has no device.
    #[error("slot {0} has no device")]
    NoDevice(usize),
    /// There are too many accesses.
    #[error("a request has at most {COUNT_MAX} accesses")]
    TooMany,
    /// An access of the guest is under way, and the wait for it was interrupted.
    #[error("slot {0} still executes an access of the guest")]
    Busy(usize),
    /// The device refused an access.
    #[error("access {index}: {}: {}", refusal.reason, refusal.message)]
    Refused {
        /// Which one, from 0.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The device is lost.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Board {
    /// Send one access of the hart, or, without one, ask for the line. Wait for the answer.
    pub(crate) fn request(
        &mut self,
        slot: usize,
        access: Option<Logged>,
        plan: Option<Plan>,
    ) -> Progress {
        let Some(connection) = self.connection(slot) else {
            return Progress::Lost(slot);
        };
        let operation = access.map(|access| access.operation);
        let planned = plan.as_ref().map(|plan| plan.operations.as_slice());
        let operations = planned.unwrap_or(operation.as_slice());
        match connection.channel.send(operations) {
            Ok(()) => {
                self.waiting = Some(Waiting { slot, access, plan });
                self.finish()
            }
            Err(lost) => self.lose(slot, &lost),
        }
    }

    /// Wait for the answer that is owed, and give it to the hart.
    pub(crate) fn finish(&mut self) -> Progress {
        let Some(waiting) = self.waiting.take() else {
            return Progress::Done;
        };
        let slot = waiting.slot;
        let Link::Connected(connection) = &mut self.slots[slot].link else {
            return Progress::Lost(slot);
        };
        let answer = match connection.channel.wait(Some(&self.notifier)) {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.waiting = Some(waiting);
                return Progress::Interrupted;
            }
            Err(lost) => return self.lose(slot, &lost),
        };
        let value = |index| answer.value(index).unwrap_or_default();
        let value = match waiting.plan.as_ref().map(|plan| plan.answer) {
            None => value(0),
            Some(quirks::Answer::Value(value)) => value,
            Some(quirks::Answer::Halves) => value(0) & 0xFFFF_FFFF | value(1) << 32,
        };
        let (line, executed) = (answer.line, answer.executed());
        let broke_rule = answer.broke_rule;
        let result = answer.refusal.map_or(Ok(value), Err);
        if let Some(access) = waiting.access.filter(|_| broke_rule) {
            let tag = connection.channel.tag();
            self.log.mark(Mark { tag, access });
        }
        match waiting.access {
            None => self.stats.line_requests.add(1),
            Some(access) => self.complete(access, waiting.plan.as_ref(), executed, result),
        }
        self.take_line(slot, line, waiting.access.map(|access| access.operation));
        Progress::Done
    }

    /// Execute accesses of someone other than the guest, and wait for them, without interruption.
    /// Returns the value of the first one.
    ///
    /// # Errors
    /// [`RequestError`]. What was executed before a refused access stays executed.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn execute(&mut self, slot: usize, operations: &[Operation]) -> Result<u64, RequestError> {
        if operations.len() > COUNT_MAX {
            return Err(RequestError::TooMany);
        }
        if self.waits_for(slot) && self.finish() == Progress::Interrupted {
            return Err(RequestError::Busy(slot));
        }
        let Link::Connected(Connection { channel, .. }) = &mut self.slots[slot].link else {
            return Err(RequestError::NoDevice(slot));
        };
        let outcome = channel.send(operations).and_then(|()| {
            let answer = channel.wait(None)?;
            Ok(answer.map(|answer| {
                let (first, executed) = (answer.first().unwrap_or_default(), answer.executed());
                (answer.line, first, executed, answer.refusal)
            }))
        });
        let answered = match outcome {
            Ok(answered) => answered,
            Err(lost) => {
                self.lose(slot, &lost);
                return Err(lost.into());
            }
        };
        let (line, first, index, refusal) =
            answered.expect("a wait without a notifier is not interrupted");
        for write in operations[..index].iter().filter(|one| one.is_write()) {
            self.slots[slot].saved.note(*write);
        }
        self.take_line(slot, line, operations.last().copied());
        match refusal {
            Some(refusal) => Err(RequestError::Refused { index, refusal }),
            None => Ok(first),
        }
    }

    /// Write the saved registers again: the device was started anew.
    ///
    /// # Errors
    /// [`RequestError`]. What is saved stays.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn restore(&mut self, slot: usize) -> Result<(), RequestError> {
        let writes = self.slots[slot].saved.writes();
        if writes.is_empty() {
            return Ok(());
        }
        self.execute(slot, &writes).map(drop)
    }

    /// Give the hart its answer, and note what was executed. Of a refused access, a read gives 0 and a
    /// write is ignored.
    fn complete(
        &mut self,
        access: Logged,
        plan: Option<&Plan>,
        executed: usize,
        result: Result<u64, Refusal>,
    ) {
        let single = [access.operation];
        let operations = plan.map_or(single.as_slice(), |plan| &plan.operations);
        for write in operations[..executed].iter().filter(|one| one.is_write()) {
            self.slots[access.slot].saved.note(*write);
        }
        if let Some(plan) = plan {
            self.note_broken(access, &plan.broken);
        }
        let value = result.unwrap_or_else(|refusal| {
            self.stats.mmio_refused.add(1);
            self.violated(access, &refusal.reason, &refusal.message);
            0
        });
        self.answer(access, value);
    }

    /// Note the rules that an access broke, of which a quirk took care.
    pub(crate) fn note_broken(&self, access: Logged, broken: &[quirks::Rule]) {
        for rule in broken {
            self.violated(access, rule.name, rule.text);
        }
    }

    /// Count a violation at a slot. The first one is recorded.
    fn violated(&self, access: Logged, reason: &str, message: &str) {
        let Operation { offset, op, value } = access.operation;
        let recorder = self.slots[access.slot].recorder.as_deref();
        self.log.violation(Some(access.slot), reason, || {
            let event = access.event(EventKind::Violation);
            let said = format!("{reason}: {message}");
            Violation {
                slot: Some(access.slot),
                reason: reason.into(),
                message: message.into(),
                count: 1,
                pc: access.pc,
                address: offset.into(),
                op,
                value,
                time_ns: access.time_ns,
                sequence: recorder.and_then(|recorder| recorder.record_note(event, &said)),
            }
        });
    }

    /// Answer the hart's access of a slot, and log it.
    pub(crate) fn answer(&mut self, mut access: Logged, value: u64) {
        let operation = &mut access.operation;
        let value = mask(value, operation.width());
        if !operation.is_write() {
            operation.value = value;
        }
        self.hart.answer(Ok(value));
        self.stats.mmio_accesses.add(1);
        let took = virtmesh_device::now().saturating_sub(access.time_ns);
        self.stats.mmio_ns.add(took);
        if let Some(recorder) = &self.slots[access.slot].recorder {
            recorder.record_at(access.time_ns, [access.event(EventKind::CpuAccess)]);
        }
        self.log.note(|| access);
    }

    /// Put the PLIC's source where the device's line is.
    fn take_line(&mut self, slot: usize, line: Line, after: Option<Operation>) {
        let Some(connection) = self.connection(slot) else {
            return;
        };
        let moved = connection.line.sequence != line.sequence;
        connection.line = line;
        let slot = &self.slots[slot];
        let again = moved || after.is_some_and(|operation| slot.drives_line(operation));
        self.plic.set_level(slot.source, line.asserted, again);
    }

    pub(crate) fn lose(&mut self, slot: usize, why: &Lost) -> Progress {
        self.set_link(slot, Link::Lost(why.to_string()));
        Progress::Lost(slot)
    }

    /// Say whether a slot owes an answer.
    pub(crate) fn waits_for(&self, slot: usize) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.slot == slot)
    }

    pub(crate) fn connection(&mut self, slot: usize) -> Option<&mut Connection> {
        match &mut self.slots[slot].link {
            Link::Connected(connection) => Some(connection),
            Link::Absent | Link::Lost(_) => None,
        }
    }
}

/// The low `width` bytes: a device may answer with more.
fn mask(value: u64, width: u8) -> u64 {
    match width {
        1 => value & 0xFF,
        2 => value & 0xFFFF,
        4 => value & 0xFFFF_FFFF,
        _ => value,
    }
}
