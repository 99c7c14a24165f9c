//! A failed request of virtio-blk, as Python gets it.

use virtmesh_blk::Failure;

/// A failed request: number, type, sector, bytes, address of its status byte, cause, errno, text.
pub type FailedRequest = (u64, &'static str, u64, u64, u64, &'static str, i32, String);

/// Make it of a failure.
pub fn failed_request(failure: Failure) -> FailedRequest {
    (
        failure.number,
        failure.request_type.name(),
        failure.sector,
        failure.bytes,
        failure.status_address,
        failure.cause.name(),
        failure.cause.errno,
        failure.cause.text,
    )
}
