//! SYSTEM and FENCE.I.

use crate::csr::number::{FCSR, FFLAGS};
use crate::csr::status::{self, TSR, TVM, TW};
use crate::decode::fields::{funct3, funct7, opcode, rd, rs1};
use crate::exception::{Cause, Exception, Stop};
use crate::exit::Exit;
use crate::hart::{Hart, Privilege};

const ECALL: u32 = 0x0000_0073;
const EBREAK: u32 = 0x0010_0073;
const SRET: u32 = 0x1020_0073;
const MRET: u32 = 0x3020_0073;
const WFI: u32 = 0x1050_0073;
const SFENCE_VMA: u32 = 0x09;

impl Hart {
    /// Execute `raw`, which stands at `pc`, and go on to the next instruction. An exit comes from WFI.
    pub(crate) fn system(&mut self, raw: u32) -> Result<(), Stop> {
        let next = self.pc.wrapping_add(4);
        let illegal = Exception::new(Cause::Illegal, raw.into());
        let mut exit = None;
        let pc = match raw {
            _ if opcode(raw) == 0x0f => {
                self.check_code();
                next
            }
            ECALL => return Err(self.environment_call().into()),
            EBREAK => return Err(Exception::new(Cause::Breakpoint, self.pc).into()),
            SRET if self.may_supervise(TSR) => {
                self.return_from_supervisor();
                self.pc
            }
            MRET if self.privilege == Privilege::Machine => {
                self.return_from_machine();
                self.pc
            }
            WFI if self.may_supervise(TW) => {
                exit = self.wait();
                next
            }
            _ if funct3(raw) == 0 && funct7(raw) == SFENCE_VMA && self.may_supervise(TVM) => {
                match rs1(raw) {
                    0 => self.flush_translations(),
                    address => self.flush_page(self.x[usize::from(address)]),
                }
                next
            }
            _ if funct3(raw) != 0 && self.csr_instruction(raw) => next,
            _ => return Err(illegal.into()),
        };
        self.pc = pc;
        self.retired = self.retired.wrapping_add(1);
        exit.map_or(Ok(()), |exit| Err(Stop::Exit(exit)))
    }

    /// M mode, or S mode unless `mstatus` traps it by `trap`.
    fn may_supervise(&self, trap: u64) -> bool {
        match self.privilege {
            Privilege::User => false,
            Privilege::Supervisor => self.csrs.mstatus & trap == 0,
            Privilege::Machine => true,
        }
    }

    fn environment_call(&self) -> Exception {
        let cause = match self.privilege {
            Privilege::User => Cause::EcallUser,
            Privilege::Supervisor => Cause::EcallSupervisor,
            Privilege::Machine => Cause::EcallMachine,
        };
        Exception::new(cause, 0)
    }

    /// WFI: nothing to wait for if an enabled interrupt is pending, whatever `mstatus` says.
    fn wait(&mut self) -> Option<Exit> {
        self.update_timers();
        (!self.interrupt_is_enabled()).then(|| Exit::Wfi {
            deadline: self.timer_deadline(),
        })
    }

    /// CSRRW, CSRRS, CSRRC and their immediate forms. False if the instruction is illegal.
    fn csr_instruction(&mut self, raw: u32) -> bool {
        #[allow(clippy::cast_possible_truncation)] // twelve bits
        let number = (raw >> 20) as u16;
        let form = funct3(raw);
        let source = match form & 4 {
            0 => self.x[usize::from(rs1(raw))],
            _ => rs1(raw).into(),
        };
        // CSRRS and CSRRC with x0 or 0 don't write.
        let write = form & 3 == 1 || rs1(raw) != 0;
        if !self.csr_is_allowed(number, write) {
            return false;
        }
        let (Some(old), Some(base)) = (self.read_csr(number), self.read_csr_to_modify(number))
        else {
            return false;
        };
        if write {
            let value = match form & 3 {
                1 => source,
                2 => base | source,
                _ => base & !source,
            };
            if !self.write_csr(number, value, self.retired.wrapping_add(1)) {
                return false;
            }
            if matches!(number, FFLAGS..=FCSR) {
                self.csrs.mstatus |= status::FS_DIRTY;
            }
        }
        self.set_x(usize::from(rd(raw)), old);
        true
    }
}
