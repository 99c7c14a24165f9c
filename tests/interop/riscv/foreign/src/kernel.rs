/// Make `main` of a kernel from a version of virtio-drivers.
///
/// `$transport` takes the address and the size of a slot; `$console` makes what is printed on.
#[macro_export]
macro_rules! kernel {
    ($virtio:ident, $transport:expr, $console:expr) => {
        use core::fmt::Write;
        use core::ptr::NonNull;

        use $crate::{board, heap};
        use $virtio::device::blk::{VirtIOBlk, SECTOR_SIZE};
        use $virtio::device::input::VirtIOInput;
        use $virtio::transport::{DeviceType, Transport};
        use $virtio::{BufferDirection, Hal, PhysAddr};

        const KEY_ESC: u16 = 1;
        const EV_KEY: u16 = 1;

        struct Bus;

        // SAFETY: addresses of the kernel are those of the bus, and a page is the caller's alone.
        unsafe impl Hal for Bus {
            fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
                let memory = heap::take(pages);
                (memory.as_ptr() as PhysAddr, memory)
            }

            unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
                unsafe { heap::give(memory, pages) };
                0
            }

            unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
                NonNull::new(address as *mut u8).expect("an address of PCI")
            }

            unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
                buffer.as_ptr().cast::<u8>() as PhysAddr
            }

            unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
        }

        #[no_mangle]
        extern "C" fn main(_hart: usize, tree: *const u8) -> ! {
            heap::init();
            let mut console = $console;
            // SAFETY: the board leaves the tree there.
            let tree = unsafe { fdt::Fdt::from_ptr(tree) }.expect("a device tree");
            for node in tree.all_nodes() {
                let ours = node
                    .compatible()
                    .is_some_and(|it| it.all().any(|one| one == "virtio,mmio"));
                let place = node.reg().and_then(|mut all| all.next());
                let source = node.interrupts().and_then(|mut all| all.next());
                let (true, Some(place), Some(source)) = (ours, place, source) else {
                    continue;
                };
                let (address, size) = (
                    place.starting_address as usize,
                    place.size.unwrap_or(0x1000),
                );
                let Ok(transport) = $transport(address, size) else {
                    continue;
                };
                match transport.device_type() {
                    DeviceType::Block => disk(transport, &mut console),
                    DeviceType::Input => keys(transport, source as u32, &mut console),
                    _ => {}
                }
            }
            let _ = writeln!(console, "end");
            board::power_off()
        }

        /// Read the first sector, and write and read back the others: each has its number in all bytes.
        fn disk(transport: impl Transport, console: &mut impl Write) {
            let mut disk = match VirtIOBlk::<Bus, _>::new(transport) {
                Ok(disk) => disk,
                Err(error) => {
                    let _ = writeln!(console, "disk: {error:?}");
                    return;
                }
            };
            let sectors = disk.capacity();
            let _ = writeln!(console, "disk: {sectors} sectors");
            let mut sector = [0; SECTOR_SIZE];
            let read = disk.read_blocks(0, &mut sector);
            let text = core::str::from_utf8(&sector[..16]).unwrap_or("?");
            let _ = writeln!(console, "disk: {read:?} {text}");
            let mut wrong = 0;
            for number in 1..sectors as usize {
                sector.fill(number as u8);
                let wrote = disk.write_blocks(number, &sector);
                sector.fill(0);
                let read = disk.read_blocks(number, &mut sector);
                let same = sector.iter().all(|&byte| byte == number as u8);
                wrong += usize::from(wrote.is_err() || read.is_err() || !same);
            }
            let _ = writeln!(console, "disk: {wrong} wrong, flush {:?}", disk.flush());
        }

        /// Print each event until Escape is pressed.
        fn keys(transport: impl Transport, source: u32, console: &mut impl Write) {
            let mut input = match VirtIOInput::<Bus, _>::new(transport) {
                Ok(input) => input,
                Err(error) => {
                    let _ = writeln!(console, "input: {error:?}");
                    return;
                }
            };
            board::enable(source);
            let _ = writeln!(console, "input: ready");
            let mut ended = false;
            while !ended {
                board::wait(|_| {
                    let _ = input.ack_interrupt();
                    while let Some(event) = input.pop_pending_event() {
                        let (kind, code, value) = (event.event_type, event.code, event.value);
                        let _ = writeln!(console, "event: {kind} {code} {value}");
                        ended |= (kind, code, value) == (EV_KEY, KEY_ESC, 0);
                    }
                });
            }
        }
    };
}
