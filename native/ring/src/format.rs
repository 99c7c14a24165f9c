//! One of the two kinds of virtqueue.

/// The split or the packed form of a part of a queue.
pub(crate) enum Kind<S, P> {
    Split(S),
    Packed(P),
}

/// Do the same with either form.
macro_rules! either {
    ($kind:expr, $ring:ident => $action:expr) => {
        match $kind {
            $crate::format::Kind::Split($ring) => $action,
            $crate::format::Kind::Packed($ring) => $action,
        }
    };
}

pub(crate) use either;
