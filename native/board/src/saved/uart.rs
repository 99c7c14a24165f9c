//! NS16550A (PC16550D data sheet, section 8): the writes that restore a device.

use crate::wire::Operation;

/// Places of the window: several registers share one, chosen by DLAB.
const THR_OR_DLL: u32 = 0;
const IER_OR_DLM: u32 = 1;
const FCR: u32 = 2;
const LCR: u32 = 3;
const MCR: u32 = 4;
const SCR: u32 = 7;

/// LCR: the divisor latches are accessed.
const DLAB: u64 = 0x80;
/// FCR: clear a FIFO. These bits clear themselves.
const FCR_RESETS: u64 = 0x06;

/// The last write to each register.
#[derive(Debug)]
pub struct Registers {
    shift: u8,
    dll: Option<Operation>,
    dlm: Option<Operation>,
    ier: Option<Operation>,
    fcr: Option<Operation>,
    lcr: Option<Operation>,
    mcr: Option<Operation>,
    scr: Option<Operation>,
}

impl Registers {
    /// Nothing is noted yet.
    pub fn new(shift: u8) -> Self {
        Self {
            shift,
            dll: None,
            dlm: None,
            ier: None,
            fcr: None,
            lcr: None,
            mcr: None,
            scr: None,
        }
    }

    /// Forget all.
    pub fn clear(&mut self) {
        *self = Self::new(self.shift);
    }

    /// Note a write that the device executed.
    pub fn note(&mut self, write: Operation) {
        let latch = self.lcr.is_some_and(|lcr| lcr.value & DLAB != 0);
        let register = match write.offset >> self.shift {
            THR_OR_DLL if latch => &mut self.dll,
            IER_OR_DLM if latch => &mut self.dlm,
            IER_OR_DLM => &mut self.ier,
            FCR => &mut self.fcr,
            LCR => &mut self.lcr,
            MCR => &mut self.mcr,
            SCR => &mut self.scr,
            _ => return,
        };
        *register = Some(write);
    }

    /// The writes that restore the device, in order.
    pub fn writes(&self) -> Vec<Operation> {
        let mut writes = Vec::new();
        if let Some(lcr) = self.lcr {
            let with_dlab = |value| Operation { value, ..lcr };
            if self.dll.is_some() || self.dlm.is_some() {
                writes.push(with_dlab(lcr.value | DLAB));
                writes.extend(self.dll.iter().chain(&self.dlm));
            }
            writes.push(with_dlab(lcr.value & !DLAB));
        }
        // FCR first of those that matter for interrupts: it says when there is received data.
        let fcr = self.fcr.map(|fcr| Operation {
            value: fcr.value & !FCR_RESETS,
            ..fcr
        });
        writes.extend(
            fcr.iter()
                .chain(&self.mcr)
                .chain(&self.scr)
                .chain(&self.ier),
        );
        writes.extend(self.lcr.filter(|lcr| lcr.value & DLAB != 0));
        writes
    }
}
