/* A small kernel that works on its disk for ever: it writes a sector, reads it back and compares.
 *
 * It says "round N" at times, powers off when q is typed, and fails (code 1: not a disk; 2: a request
 * failed; 3: other data than were written; 7: a trap). virtio-mmio slot 0, version 2, split ring. */

#include <stdint.h>

#define UART ((volatile uint8_t *)0x10000000)
#define TEST ((volatile uint32_t *)0x100000)
#define REGISTER(offset) (*(volatile uint32_t *)(0x10001000 + (offset)))

enum { QUEUE = 8, SECTOR = 512, SECTORS = 1024, SAID = 256 };
enum { NEXT = 1, WRITE = 2 };
enum { TYPE_IN = 0, TYPE_OUT = 1, UNKNOWN = 0xff };

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags, index, ring[QUEUE]; };
struct used { uint16_t flags, index; struct { uint32_t id, length; } ring[QUEUE]; };
struct header { uint32_t type, reserved; uint64_t sector; };

static struct descriptor table[QUEUE] __attribute__((aligned(16)));
static volatile struct available available __attribute__((aligned(2)));
static volatile struct used used __attribute__((aligned(4)));
static struct header header;
static volatile uint8_t written[SECTOR], read_back[SECTOR], status;
static char stack[16384] __attribute__((aligned(16), used));

__asm__(".globl _start\n"
        "_start: la sp, stack + 16384\n"
        "la t0, trapped\n"
        "csrw mtvec, t0\n"
        "j work\n"
        ".balign 4\n"
        "trapped: li a0, 7\n"
        "j fail\n");

__attribute__((noreturn)) void fail(uint32_t code)
{
    *TEST = code << 16 | 0x3333;
    for (;;)
        ;
}

static void put(char character)
{
    while (!(UART[5] & 0x20))
        ;
    UART[0] = character;
}

static void say(const char *text, uint64_t number)
{
    while (*text)
        put(*text++);
    for (int shift = 28; shift >= 0; shift -= 4)
        put("0123456789abcdef"[number >> shift & 15]);
    put('\r');
    put('\n');
}

static void set_up(void)
{
    if (REGISTER(0x000) != 0x74726976 || REGISTER(0x004) != 2 || REGISTER(0x008) != 2)
        fail(1);
    REGISTER(0x070) = 0;
    while (REGISTER(0x070))
        ;
    REGISTER(0x070) = 1;
    REGISTER(0x070) = 1 | 2;
    REGISTER(0x014) = 1;
    if (!(REGISTER(0x010) & 1)) /* VIRTIO_F_VERSION_1 */
        fail(1);
    REGISTER(0x024) = 0;
    REGISTER(0x020) = 0;
    REGISTER(0x024) = 1;
    REGISTER(0x020) = 1;
    REGISTER(0x070) = 1 | 2 | 8;
    if (!(REGISTER(0x070) & 8))
        fail(1);
    REGISTER(0x030) = 0;
    REGISTER(0x038) = QUEUE;
    REGISTER(0x080) = (uint32_t)(uint64_t)table;
    REGISTER(0x084) = 0;
    REGISTER(0x090) = (uint32_t)(uint64_t)&available;
    REGISTER(0x094) = 0;
    REGISTER(0x0a0) = (uint32_t)(uint64_t)&used;
    REGISTER(0x0a4) = 0;
    REGISTER(0x044) = 1;
    REGISTER(0x070) = 1 | 2 | 4 | 8;
}

static void request(uint32_t type, uint64_t sector, volatile uint8_t *data)
{
    uint16_t done = used.index;

    header = (struct header){type, 0, sector};
    status = UNKNOWN;
    table[0] = (struct descriptor){(uint64_t)&header, sizeof header, NEXT, 1};
    table[1] = (struct descriptor){(uint64_t)data, SECTOR, NEXT | (type == TYPE_IN ? WRITE : 0), 2};
    table[2] = (struct descriptor){(uint64_t)&status, 1, WRITE, 0};
    available.ring[available.index % QUEUE] = 0;
    __sync_synchronize();
    available.index++;
    __sync_synchronize();
    REGISTER(0x050) = 0;
    while (used.index == done)
        ;
    __sync_synchronize();
    if (REGISTER(0x060))
        REGISTER(0x064) = 1;
    if (status)
        fail(2);
}

__attribute__((noreturn, used)) void work(void)
{
    UART[3] = 0x83; /* LCR: 8N1, and the divisor latch */
    UART[0] = 1;
    UART[1] = 0;
    UART[3] = 3;
    set_up();
    for (uint64_t round = 0;; round++) {
        uint64_t sector = round % SECTORS;

        for (int i = 0; i < SECTOR; i++) {
            written[i] = round >> i % 8 ^ i;
            read_back[i] = 0;
        }
        request(TYPE_OUT, sector, written);
        request(TYPE_IN, sector, read_back);
        for (int i = 0; i < SECTOR; i++)
            if (read_back[i] != written[i])
                fail(3);
        if (round % SAID == 0)
            say("round ", round);
        if (UART[5] & 1 && UART[0] == 'q') {
            say("all right: ", round);
            *TEST = 0x5555;
        }
    }
}
