//! Requests to devices: one at a time, each completed before the hart goes on.

use virtmesh_device::EventKind;

use crate::access_log::{Logged, Mark, Violation};
use crate::board::Board;
use crate::channel::Lost;
use crate::quirks::{self, Plan};
use crate::slot::{Connection, Link};
use crate::wire::{Line, Operation, Refusal};

/// A request that a device owes an answer for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub slot: usize,
    /// Writes that were held, and come first.
    pub held: Vec<Logged>,
    /// The access of the hart; `None` when only the line was asked for.
    pub access: Option<Logged>,
    /// What a quirk made of the access.
    pub plan: Option<Plan>,
    /// When it was sent, in ns.
    pub begun_ns: u64,
}

impl Waiting {
    /// Forget what it was for.
    pub fn orphan(&mut self) {
        self.held.clear();
        (self.access, self.plan) = (None, None);
    }

    /// What the request executes.
    fn operations(&self) -> Vec<Operation> {
        let mut operations: Vec<_> = self.held.iter().map(|one| one.operation).collect();
        match &self.plan {
            Some(plan) => operations.extend(&plan.operations),
            None => operations.extend(self.access.map(|access| access.operation)),
        }
        operations
    }
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

/// Why an access from outside the guest failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The slot has no device.
    #[error("slot {0} has no device")]
    NoDevice(usize),
    /// An access of the guest is under way, and the wait for it was interrupted.
    #[error("slot {0} still executes an access of the guest")]
    Busy(usize),
    /// The device refused the access.
    #[error("{}: {}", .0.reason, .0.message)]
    Refused(Refusal),
    /// The device is lost.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Board {
    /// Send one access of the hart, or, without one, ask for the line; held writes of the slot go in
    /// front. Wait for the answer.
    pub(crate) fn request(
        &mut self,
        slot: usize,
        access: Option<Logged>,
        plan: Option<Plan>,
    ) -> Progress {
        let held = self.held.take_of(slot);
        self.send(Waiting {
            slot,
            held,
            access,
            plan,
            begun_ns: virtmesh_device::now(),
        })
    }

    fn send(&mut self, waiting: Waiting) -> Progress {
        let slot = waiting.slot;
        let operations = waiting.operations();
        let Some(connection) = self.connection(slot) else {
            self.held.put_back(waiting.held);
            return Progress::Lost(slot);
        };
        let sent = connection.channel.send(&operations);
        self.waiting = Some(waiting);
        match sent {
            Ok(()) => self.finish(),
            Err(lost) => self.lose(slot, &lost),
        }
    }

    /// Wait for the answer that is owed, and give it to the hart.
    pub(crate) fn finish(&mut self) -> Progress {
        let Some(mut waiting) = self.waiting.take() else {
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
            Err(lost) => {
                self.waiting = Some(waiting);
                return self.lose(slot, &lost);
            }
        };
        let (line, executed, held) = (answer.line, answer.executed(), waiting.held.len());
        let value = |index| answer.value(held + index).unwrap_or_default();
        let value = match waiting.plan.as_ref().map(|plan| plan.answer) {
            None => value(0),
            Some(quirks::Answer::Value(value)) => value,
            Some(quirks::Answer::Halves) => value(0) & 0xFFFF_FFFF | value(1) << 32,
        };
        let broke_rule = answer.broke_rule;
        let result = answer.refusal.map_or(Ok(value), Err);
        if broke_rule {
            let tag = connection.channel.tag();
            let accesses = waiting.held.iter().copied().chain(waiting.access).collect();
            self.log.mark(slot, Mark { tag, accesses });
        }
        for write in &waiting.held[..executed.min(held)] {
            self.slots[slot].saved.note(write.operation);
        }
        let done = waiting.held.iter().take(executed).chain(&waiting.access);
        let drives = done
            .map(|access| access.operation)
            .any(|operation| self.slots[slot].drives_line(operation));
        self.take_line(slot, line, drives);
        if executed < held {
            if let Err(refusal) = result {
                self.refuse(waiting.held[executed], &refusal);
            }
            // The device stops at a write that it refuses; the guest has gone on.
            waiting.held.drain(..=executed);
            let done = waiting.held.is_empty() && waiting.access.is_none();
            return if done {
                Progress::Done
            } else {
                self.send(waiting)
            };
        }
        match waiting.access {
            Some(access) => self.complete(access, waiting.plan.as_ref(), executed - held, result),
            None if held == 0 => self.stats.line_requests.add(1),
            None => self
                .stats
                .mmio_ns
                .add(virtmesh_device::now().saturating_sub(waiting.begun_ns)),
        }
        Progress::Done
    }

    /// Execute an access of someone other than the guest, and wait for it, without interruption.
    /// Returns its value; 0 for a write.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn execute(&mut self, slot: usize, operation: Operation) -> Result<u64, RequestError> {
        if self.waits_for(slot) && self.finish() == Progress::Interrupted {
            return Err(RequestError::Busy(slot));
        }
        if self.held.slot() == Some(slot) && self.flush() == Progress::Interrupted {
            return Err(RequestError::Busy(slot));
        }
        let Link::Connected(Connection { channel, .. }) = &mut self.slots[slot].link else {
            return Err(RequestError::NoDevice(slot));
        };
        let outcome = channel.send(&[operation]).and_then(|()| {
            let answer = channel.wait(None)?;
            Ok(answer.map(|answer| {
                let value = answer.first().unwrap_or_default();
                (answer.line, value, answer.refusal)
            }))
        });
        let answered = match outcome {
            Ok(answered) => answered,
            Err(lost) => {
                self.lose(slot, &lost);
                return Err(lost.into());
            }
        };
        let (line, value, refusal) =
            answered.expect("a wait without a notifier is not interrupted");
        if operation.is_write() && refusal.is_none() {
            self.slots[slot].saved.note(operation);
        }
        let drives = self.slots[slot].drives_line(operation);
        self.take_line(slot, line, drives);
        refusal.map_or(Ok(value), |refusal| Err(RequestError::Refused(refusal)))
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
            self.refuse(access, &refusal);
            0
        });
        self.answer(access, value);
    }

    /// Note that the device has refused an access.
    fn refuse(&self, access: Logged, refusal: &Refusal) {
        self.stats.mmio_refused.add(1);
        self.violated(access, &refusal.reason, &refusal.message);
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

    /// Put the PLIC's source where the device's line is. `drives`: an access had the device drive it.
    fn take_line(&mut self, slot: usize, line: Line, drives: bool) {
        let Some(connection) = self.connection(slot) else {
            return;
        };
        let before = connection.line;
        let gained = line.causes & !before.causes != 0;
        let moved = before.sequence != line.sequence || gained;
        connection.line = line;
        let slot = &self.slots[slot];
        self.plic
            .set_level(slot.source, line.asserted, moved || drives);
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
