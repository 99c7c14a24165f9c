//! The two ring formats: split (virtio 1.4, 2.7) and packed (2.8).

/// A part of a queue in the split or in the packed format.
pub(crate) enum RingFormat<S, P> {
    Split(S),
    Packed(P),
}

/// Evaluate the same expression for either format.
macro_rules! with_format {
    ($kind:expr, $ring:ident => $action:expr) => {
        match $kind {
            $crate::format::RingFormat::Split($ring) => $action,
            $crate::format::RingFormat::Packed($ring) => $action,
        }
    };
}

pub(crate) use with_format;
