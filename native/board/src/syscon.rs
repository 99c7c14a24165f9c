//! The `SiFive` test device, which Linux drives as `syscon-poweroff` and `syscon-reboot`.

/// Bytes of the register window.
pub const SIZE: u64 = 0x1000;

/// What a guest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// 0x5555: it is done.
    PowerOff,
    /// 0x7777: start again.
    Reboot,
    /// 0x3333 with a code in the upper half: it failed.
    Fail(u16),
}

/// Decode a write of `value` at `offset`. Other values and places are ignored, as QEMU does.
#[must_use]
pub fn decode(offset: u64, value: u64) -> Option<Request> {
    if offset != 0 {
        return None;
    }
    match value & 0xFFFF {
        0x5555 => Some(Request::PowerOff),
        0x7777 => Some(Request::Reboot),
        // Cut to 16 bits.
        0x3333 => Some(Request::Fail(((value >> 16) & 0xFFFF) as u16)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_value_and_others_have_none() {
        assert_eq!(decode(0, 0x5555), Some(Request::PowerOff));
        assert_eq!(decode(0, 0x7777), Some(Request::Reboot));
        assert_eq!(decode(0, 0x002A_3333), Some(Request::Fail(42)));
        assert_eq!(decode(0, 0x1234), None);
        assert_eq!(decode(4, 0x5555), None);
    }
}
