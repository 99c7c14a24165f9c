// A kernel with the habits of kernels that were grown on QEMU: each is a macro, and without one it keeps to
// the rules. It writes and reads back sectors of a disk, prints the events of a keyboard, and powers off.
//
// WANTS_QEMU       asks for QEMU's VendorID
// NO_VERSION_1     does not accept VIRTIO_F_VERSION_1
// NO_FEATURES_OK   leaves FEATURES_OK out
// NO_ACKNOWLEDGE   leaves ACKNOWLEDGE out
// SINGLE_BITS      writes each bit of Status without those before
// WIDE_CAPACITY    reads capacity by one load of 64 bits
// LEGACY           drives version 1 of virtio-mmio: GuestPageSize, QueueAlign, QueuePFN
// EARLY_DRIVER_OK  sets queues up after DRIVER_OK
// NO_LCR           takes the serial port as it is
// NEVER_ACKS       writes no InterruptACK
// NEVER_READS_IIR  waits for a "q" of the serial port by interrupts, and never reads IIR
//
// DISK, DISK_SOURCE, KEYBOARD, KEYBOARD_SOURCE: where they are. No KEYBOARD: there is none.
// Codes of its end: see `enum end`.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum end { WRONG_VERSION = 1, NOT_QEMUS, FEATURES_REFUSED, NOT_LIVE, NO_CAPACITY, WRONG_DATA, STORM, TRAP };

#ifndef DISK
#define DISK 0x10001000
#define DISK_SOURCE 1
#endif
#define UART 0x10000000UL
#define TEST 0x100000UL
#define PLIC 0xc000000UL
#define CLAIM (PLIC + 0x200004)
#define SECTORS 8
#define SIZE 8 // entries of a queue
#define PAGE 4096
#define STORM_CLAIMS 1000

#define REG8(a) (*(volatile u8 *)(a))
#define REG(a) (*(volatile u32 *)(a))
#define REG64(a) (*(volatile u64 *)(a))

// virtio 1.4, 4.2.2 and 4.2.4
enum {
    MAGIC = 0, VERSION = 4, DEVICE_ID = 8, VENDOR = 0xc, FEATURES_SEL = 0x14, ACCEPTED = 0x20, ACCEPTED_SEL = 0x24,
    PAGE_SIZE = 0x28, QUEUE_SEL = 0x30, QUEUE_SIZE = 0x38, ALIGN = 0x3c, PFN = 0x40, READY = 0x44, NOTIFY = 0x50,
    CAUSES = 0x60, ACK = 0x64, STATUS = 0x70, DESC = 0x80, DRIVER = 0x90, DEVICE = 0xa0, CONFIG = 0x100,
};
enum { ACKNOWLEDGE = 1, DRIVER_BIT = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NEXT = 1, WRITE = 2 };

struct descriptor { u64 address; u32 length; u16 flags, next; };
struct queue { // the layout of version 1, which version 2 takes too
    struct descriptor table[SIZE];
    struct { u16 flags, index, ring[SIZE]; } available;
    u8 pad[PAGE - SIZE * 16 - 4 - 2 * SIZE];
    volatile struct { u16 flags, index; struct { u32 id, length; } ring[SIZE]; } used;
} __attribute__((aligned(PAGE)));

static struct queue disk;
static u8 sector[512];
static u32 claims;

__asm__(".section .text.start, \"ax\"\n.globl _start\n_start: la sp, stack_top\nla t0, trapped\ncsrw mtvec, t0\n"
        "call main\n.balign 4\ntrapped: csrr a1, mcause\nli a0, 8\ncall end\n"
        ".bss\n.balign 16\n.skip 16384\nstack_top:\n.text");

static void put(char c) {
    while (!(REG8(UART + 5) & 0x20))
        ;
    REG8(UART) = c;
}

static void puts(const char *text) {
    while (*text)
        put(*text++);
}

static void put_number(const char *text, u64 number) {
    char digits[21], *at = digits + 20;
    *at = 0;
    do
        *--at = '0' + number % 10;
    while (number /= 10);
    puts(text);
    puts(at);
}

void end(enum end code) {
    put_number("ends with ", code);
    put('\n');
    REG(TEST) = code ? 0x3333 | code << 16 : 0x5555;
    for (;;)
        ;
}

// Set a device up with its first queue.
static void set_up(u64 base, u32 source, struct queue *queue) {
#ifdef LEGACY
    u32 version = 1;
#else
    u32 version = 2;
#endif
    if (REG(base + MAGIC) != 0x74726976 || REG(base + VERSION) != version || !REG(base + DEVICE_ID))
        end(WRONG_VERSION);
#ifdef WANTS_QEMU
    if (REG(base + VENDOR) != 0x554d4551)
        end(NOT_QEMUS);
#endif
    u32 status = 0;
    REG(base + STATUS) = 0;
    while (REG(base + STATUS))
        ;
#ifdef SINGLE_BITS
#define ADD(bit) REG(base + STATUS) = (bit)
#else
#define ADD(bit) REG(base + STATUS) = status |= (bit)
#endif
    (void)status;
#ifndef NO_ACKNOWLEDGE
    ADD(ACKNOWLEDGE);
#endif
    ADD(DRIVER_BIT);
    for (u32 word = 0; word < 2; word++) {
        REG(base + FEATURES_SEL) = word;
        (void)REG(base + 0x10);
        REG(base + ACCEPTED_SEL) = word;
#if defined(NO_VERSION_1) || defined(LEGACY)
        REG(base + ACCEPTED) = 0;
#else
        REG(base + ACCEPTED) = word;
#endif
    }
#if !defined(NO_FEATURES_OK) && !defined(LEGACY)
    ADD(FEATURES_OK);
    if (!(REG(base + STATUS) & FEATURES_OK))
        end(FEATURES_REFUSED);
#endif
#ifdef EARLY_DRIVER_OK
    ADD(DRIVER_OK);
#endif
    REG(base + QUEUE_SEL) = 0;
#ifdef LEGACY
    REG(base + PAGE_SIZE) = PAGE;
    REG(base + QUEUE_SIZE) = SIZE;
    REG(base + ALIGN) = PAGE;
    REG(base + PFN) = (u64)queue / PAGE;
#else
    u64 areas[] = {(u64)queue->table, (u64)&queue->available, (u64)&queue->used};
    REG(base + QUEUE_SIZE) = SIZE;
    for (u32 area = 0; area < 3; area++) {
        REG(base + DESC + 16 * area) = areas[area];
        REG(base + DESC + 16 * area + 4) = areas[area] >> 32;
    }
    REG(base + READY) = 1;
#endif
    REG(PLIC + 4 * source) = 1;
    REG(PLIC + 0x2000) |= 1U << source;
#ifndef EARLY_DRIVER_OK
    ADD(DRIVER_OK);
#endif
    if (!(REG(base + STATUS) & DRIVER_OK))
        end(NOT_LIVE);
}

// Sleep until the device has used a buffer. Claims and completes the interrupts meanwhile.
static void wait(u64 base, struct queue *queue, u16 seen) {
    u32 idle = 0;
    while (queue->used.index == seen) {
        __asm__ volatile("wfi" ::: "memory");
        for (u32 source; (source = REG(CLAIM)) != 0; REG(CLAIM) = source) {
            claims++;
            if (++idle > STORM_CLAIMS)
                end(STORM);
#ifndef NEVER_ACKS
            // The last request of the disk can be done before this looks: its interrupt comes later.
            u64 claimed = source == DISK_SOURCE ? DISK : base;
            REG(claimed + ACK) = REG(claimed + CAUSES);
#else
            (void)base;
#endif
        }
    }
}

static void request(u32 type, u64 number) {
    static struct { u32 type, reserved; u64 sector; } head;
    static volatile u8 done;
    head.type = type;
    head.sector = number;
    done = 0xff;
    disk.table[0] = (struct descriptor){(u64)&head, sizeof head, NEXT, 1};
    disk.table[1] = (struct descriptor){(u64)sector, sizeof sector, NEXT | (type ? 0 : WRITE), 2};
    disk.table[2] = (struct descriptor){(u64)&done, 1, WRITE, 0};
    u16 seen = disk.used.index;
    __asm__ volatile("fence" ::: "memory");
    disk.available.index++;
    __asm__ volatile("fence" ::: "memory");
    REG(DISK + NOTIFY) = 0;
    wait(DISK, &disk, seen);
    if (done)
        end(WRONG_DATA);
}

static void use_disk(void) {
    set_up(DISK, DISK_SOURCE, &disk);
#ifdef WIDE_CAPACITY
    u64 capacity = REG64(DISK + CONFIG);
#else
    u64 capacity = REG(DISK + CONFIG) | (u64)REG(DISK + CONFIG + 4) << 32;
#endif
    put_number("sectors ", capacity);
    put('\n');
    if (capacity < SECTORS)
        end(NO_CAPACITY);
    for (u32 number = 0; number < SECTORS; number++) {
        for (u32 at = 0; at < sizeof sector; at++)
            sector[at] = 'a' + number;
        request(1, number);
        for (u32 at = 0; at < sizeof sector; at++)
            sector[at] = 0;
        request(0, number);
        for (u32 at = 0; at < sizeof sector; at++)
            if (sector[at] != 'a' + number)
                end(WRONG_DATA);
    }
    puts("disk done\n");
}

#ifdef KEYBOARD
static struct queue keys;
static struct event { u16 type, code; u32 value; } events[SIZE];

static void use_keyboard(void) {
    u16 seen = 0;
    set_up(KEYBOARD, KEYBOARD_SOURCE, &keys);
    for (u32 at = 0; at < SIZE; at++) {
        keys.table[at] = (struct descriptor){(u64)&events[at], sizeof events[at], WRITE, 0};
        keys.available.ring[at] = at;
    }
    __asm__ volatile("fence" ::: "memory");
    keys.available.index = SIZE;
    __asm__ volatile("fence" ::: "memory");
    REG(KEYBOARD + NOTIFY) = 0;
    puts("keys\n");
    for (struct event event = {0}; !(event.type == 1 && event.code == 1 && event.value == 0); seen++) {
        wait(KEYBOARD, &keys, seen);
        u16 at = keys.used.ring[seen % SIZE].id;
        event = *(volatile struct event *)&events[at];
        put_number("event ", event.type);
        put_number(" ", event.code);
        put_number(" ", event.value);
        put('\n');
        keys.available.ring[keys.available.index % SIZE] = at;
        __asm__ volatile("fence" ::: "memory");
        keys.available.index++;
        __asm__ volatile("fence" ::: "memory");
        REG(KEYBOARD + NOTIFY) = 0;
    }
}
#endif

#ifdef NEVER_READS_IIR
static void wait_for_q(void) {
    REG(PLIC + 4 * 10) = 1;
    REG(PLIC + 0x2000) |= 1U << 10;
    REG8(UART + 1) = 3; // of what is received, and of an empty THR
    for (u8 got = 0; got != 'q';) {
        __asm__ volatile("wfi" ::: "memory");
        u32 source = REG(CLAIM);
        if (!source)
            continue;
        if (REG8(UART + 5) & 1)
            got = REG8(UART);
        if (++claims > STORM_CLAIMS)
            end(STORM);
        REG(CLAIM) = source;
    }
    REG8(UART + 1) = 0;
}
#endif

void main(void) {
#ifndef NO_LCR
    REG8(UART + 3) = 0x80; // the divisor latch
    REG8(UART) = 1;
    REG8(UART + 1) = 0;
    REG8(UART + 3) = 3; // 8N1
#endif
    puts("boot\n");
    __asm__ volatile("csrs mie, %0" ::"r"(1 << 11)); // MEIE: it ends WFI
    use_disk();
#ifdef NEVER_READS_IIR
    wait_for_q();
#endif
#ifdef KEYBOARD
    use_keyboard();
#endif
    put_number("claims ", claims);
    put('\n');
    end(0);
}
