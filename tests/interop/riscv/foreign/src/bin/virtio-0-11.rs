//! virtio-drivers 0.11, which never accepts VIRTIO_F_VERSION_1, and a serial port that uart_16550 sets up.

#![no_std]
#![no_main]

use uart_16550::MmioSerialPort;
use virtio::transport::mmio::MmioTransport;
use virtio_drivers_0_11 as virtio;

foreign_kernels::kernel!(
    virtio,
    |address: usize, size| unsafe {
        MmioTransport::new(NonNull::new_unchecked(address as *mut _), size)
    },
    {
        let mut port = unsafe { MmioSerialPort::new(0x1000_0000) };
        port.init();
        port
    }
);
