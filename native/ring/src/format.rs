//! One of the two kinds of virtqueue.

/// The split or the packed form of a part of a queue.
pub(crate) enum RingFormat<S, P> {
    Split(S),
    Packed(P),
}

/// Do the same with either form.
macro_rules! with_format {
    ($kind:expr, $ring:ident => $action:expr) => {
        match $kind {
            $crate::format::RingFormat::Split($ring) => $action,
            $crate::format::RingFormat::Packed($ring) => $action,
        }
    };
}

pub(crate) use with_format;
