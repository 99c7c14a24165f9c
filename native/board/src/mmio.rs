//! Accesses of the hart outside RAM: who answers them.

use virtmesh_hart::Access;

use crate::access_log::{Logged, Violation};
use crate::board::Board;
use crate::memory_map::{CLINT, PLIC, SYSCON};
use crate::quirks::{Answer, Plan};
use crate::requests::Progress;
use crate::slot::Link;
use crate::wire::{OP_WRITE, Operation};
use crate::{clint, plic, syscon};

/// First claim register of the PLIC, and bytes from one to the next.
const CLAIM: u64 = 0x20_0004;
const CLAIM_STRIDE: u64 = 0x1000;
/// Reason of the violation of an access that nothing answers.
const HOLE: &str = "hole";

/// What an access led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accessed {
    Slot(Progress),
    /// The hart has its answer.
    Answered,
    /// So it has, and the guest wants something of the whole machine.
    Asked(syscon::Request),
}

impl Board {
    /// Execute the access that the hart left for.
    pub(crate) fn access(&mut self, access: Access) -> Accessed {
        if let Some(slot) = self.slot_at(&access) {
            return Accessed::Slot(self.access_slot(slot, &access));
        }
        let answer = if let Some(offset) = offset_in(&access, PLIC, plic::SIZE) {
            match self.flush() {
                Progress::Done => {}
                progress => return Accessed::Slot(progress),
            }
            self.access_plic(offset, &access)
        } else if let Some(offset) = offset_in(&access, CLINT, clint::SIZE) {
            self.access_clint(offset, &access)
        } else if let Some(offset) = offset_in(&access, SYSCON, syscon::SIZE) {
            self.hart.answer(Ok(0));
            let request = access.value.and_then(|value| syscon::decode(offset, value));
            return request.map_or(Accessed::Answered, Accessed::Asked);
        } else {
            None
        };
        if answer.is_none() {
            self.stats.holes.add(1);
            self.stats.hole_address.set(access.address);
            self.stats.hole_pc.set(access.pc);
            self.note_hole(&access);
        }
        self.hart.answer(answer.ok_or(()));
        Accessed::Answered
    }

    /// Count an access that nothing answers.
    fn note_hole(&self, access: &Access) {
        let place = [(PLIC, plic::SIZE), (CLINT, clint::SIZE)];
        let inside = place.map(|(address, size)| offset_in(access, address, size).is_some());
        let (width, address) = (access.width, access.address);
        let what = match inside {
            [true, _] => "the PLIC has no such register, or not of that width",
            [_, true] => "the CLINT has no such register, or not of that width",
            _ => "neither RAM nor a device is there",
        };
        let way = access.value.map_or("read", |_| "write");
        self.log.violation(None, HOLE, || Violation {
            slot: None,
            reason: HOLE.into(),
            message: format!("a {way} of {width} bytes at {address:#x}: {what}"),
            count: 1,
            pc: access.pc,
            address,
            op: width | access.value.map_or(0, |_| OP_WRITE),
            value: access.value.unwrap_or_default(),
            time_ns: virtmesh_device::now(),
            sequence: None,
        });
    }

    fn access_plic(&mut self, offset: u64, access: &Access) -> Option<u64> {
        if let Some(value) = access.value {
            // Only accesses of 4 bytes pass the check of the width: the value fits.
            let value = u32::try_from(value).unwrap_or_default();
            return self
                .plic
                .write(offset, access.width, value)
                .ok()
                .map(|()| 0);
        }
        let value = self.plic.read(offset, access.width).ok()?;
        if offset >= CLAIM && (offset - CLAIM).is_multiple_of(CLAIM_STRIDE) {
            self.count_claim(value);
        }
        Some(value.into())
    }

    /// A guest may claim until it finds nothing: that is not counted.
    fn count_claim(&self, source: u32) {
        if source != 0 {
            self.stats.interrupts.add(1);
            let up = usize::try_from(source).is_ok_and(|source| self.plic.is_up(source));
            self.stats.spurious.add(u64::from(!up));
        }
    }

    fn access_clint(&mut self, offset: u64, access: &Access) -> Option<u64> {
        match access.value {
            None => self.clint.read(&self.hart, offset, access.width),
            Some(value) => {
                let written = self
                    .clint
                    .write(&mut self.hart, offset, access.width, value);
                written.map(|()| 0)
            }
        }
    }

    fn access_slot(&mut self, number: usize, access: &Access) -> Progress {
        match self.flush_others(number) {
            Progress::Done => {}
            progress => return progress,
        }
        let slot = &self.slots[number];
        // It fits: windows are smaller than 4 GiB.
        let offset = u32::try_from(access.address - slot.address).unwrap_or(u32::MAX);
        let operation = match access.value {
            None => Operation::read(offset, access.width),
            Some(value) => Operation::write(offset, access.width, value),
        };
        let logged = Logged {
            slot: number,
            pc: access.pc,
            operation,
            time_ns: virtmesh_device::now(),
        };
        match &slot.link {
            Link::Connected(connection) => {
                if connection.kick_of(slot.kind, operation).is_some() {
                    return self.notify(number, logged);
                }
                if slot.may_hold(operation) {
                    return self.hold(logged);
                }
                match self.slots[number].plan(operation) {
                    // The board answers alone.
                    Some(Plan {
                        ref operations,
                        answer: Answer::Value(value),
                        ref broken,
                    }) if operations.is_empty() => {
                        self.note_broken(logged, broken);
                        self.answer(logged, value);
                        Progress::Done
                    }
                    plan => self.request(number, Some(logged), plan),
                }
            }
            Link::Absent => {
                self.answer(logged, slot.absent_value(operation));
                Progress::Done
            }
            Link::Lost(_) => Progress::Lost(number),
        }
    }

    /// Signal the eventfd of a queue; what the guest wrote before is at the device by then.
    fn notify(&mut self, number: usize, access: Logged) -> Progress {
        match self.flush() {
            Progress::Done => {}
            progress => return progress,
        }
        let slot = &self.slots[number];
        let Link::Connected(connection) = &slot.link else {
            return Progress::Lost(number);
        };
        if let Some(kick) = connection.kick_of(slot.kind, access.operation) {
            connection.signaller.signal(kick);
            self.stats.notifications.add(1);
            self.answer(access, 0);
        }
        Progress::Done
    }

    /// The slot whose window has all bytes of the access.
    fn slot_at(&self, access: &Access) -> Option<usize> {
        let inside =
            |slot: &crate::slot::Slot| offset_in(access, slot.address, slot.size).is_some();
        self.slots.iter().position(inside)
    }
}

/// The offset of an access in a window that has all its bytes.
fn offset_in(access: &Access, address: u64, size: u64) -> Option<u64> {
    let offset = access.address.checked_sub(address)?;
    let end = offset.checked_add(access.width.into())?;
    (end <= size).then_some(offset)
}
