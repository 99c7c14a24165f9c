//! virtio-drivers 0.12, which keeps to the rules, and a serial port that ns16550a sets up.

#![no_std]
#![no_main]

use ns16550a::{Divisor, Uart, UartConfig};
use virtio::transport::mmio::MmioTransport;
use virtio_drivers_0_12 as virtio;

foreign_kernels::kernel!(
    virtio,
    |address: usize, size| unsafe {
        MmioTransport::new(NonNull::new_unchecked(address as *mut _), size)
    },
    {
        let port = Uart::new(0x1000_0000);
        port.init(UartConfig::default(), Divisor::BAUD115200);
        port
    }
);
