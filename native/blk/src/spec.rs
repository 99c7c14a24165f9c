//! Constants of virtio-blk (virtio 1.4, 5.2).

use virtmesh_ring::spec_constants;

spec_constants! {
    /// `size_max` applies (5.2.3).
    pub const VIRTIO_BLK_F_SIZE_MAX: u64 = 1 << 1;
    /// `seg_max` applies (5.2.3).
    pub const VIRTIO_BLK_F_SEG_MAX: u64 = 1 << 2;
    /// FLUSH requests are supported (5.2.3).
    pub const VIRTIO_BLK_F_FLUSH: u64 = 1 << 9;
    /// DISCARD requests are supported (5.2.3).
    pub const VIRTIO_BLK_F_DISCARD: u64 = 1 << 13;
    /// `WRITE_ZEROES` requests are supported (5.2.3).
    pub const VIRTIO_BLK_F_WRITE_ZEROES: u64 = 1 << 14;

    /// Read (5.2.6).
    pub const VIRTIO_BLK_T_IN: u32 = 0;
    /// Write (5.2.6).
    pub const VIRTIO_BLK_T_OUT: u32 = 1;
    /// Make completed writes durable (5.2.6).
    pub const VIRTIO_BLK_T_FLUSH: u32 = 4;
    /// Read the device ID string (5.2.6).
    pub const VIRTIO_BLK_T_GET_ID: u32 = 8;
    /// Discard sectors (5.2.6).
    pub const VIRTIO_BLK_T_DISCARD: u32 = 11;
    /// Fill sectors with zeroes (5.2.6).
    pub const VIRTIO_BLK_T_WRITE_ZEROES: u32 = 13;

    /// The request succeeded (5.2.6).
    pub const VIRTIO_BLK_S_OK: u8 = 0;
    /// An error of the device or the driver (5.2.6).
    pub const VIRTIO_BLK_S_IOERR: u8 = 1;
    /// The device does not support the request (5.2.6).
    pub const VIRTIO_BLK_S_UNSUPP: u8 = 2;

    /// The device may deallocate what it zeroes: `struct virtio_blk_discard_write_zeroes` (5.2.6).
    pub const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: u32 = 1;

    /// Bytes of a device ID string (5.2.6).
    pub const VIRTIO_BLK_ID_BYTES: usize = 20;
}
