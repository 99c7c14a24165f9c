//! Constants of the specification, listed by name so that others can compare them with their own.

/// Define constants of the specification, and `SPEC_CONSTANTS`, the table of their names and values.
///
/// The numbers are written once: the table is made from the constants.
#[macro_export]
macro_rules! spec_constants {
    ($($(#[$doc:meta])* pub const $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[$doc])* pub const $name: $type = $value;)+

        /// The name and value of each constant of the specification in this module.
        pub const SPEC_CONSTANTS: &[(&str, u64)] = &[$((stringify!($name), $name as u64)),+];
    };
}
