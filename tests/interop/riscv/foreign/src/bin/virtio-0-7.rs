//! virtio-drivers 0.7: drives both versions of virtio-mmio, never accepts VIRTIO_F_VERSION_1, does not look
//! whether FEATURES_OK stays. The serial port is taken as it is: LCR is never written.

#![no_std]
#![no_main]

use virtio::transport::mmio::MmioTransport;
use virtio_drivers_0_7 as virtio;

foreign_kernels::kernel!(
    virtio,
    |address: usize, _size| unsafe {
        MmioTransport::new(NonNull::new_unchecked(address as *mut _))
    },
    ns16550a::Uart::new(0x1000_0000)
);
