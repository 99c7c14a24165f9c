/* The device side of a split ring as plain as it can be: it checks nothing.
 *
 * A batch of block reads of 4 KiB, of three descriptors each (virtio 1.4, 2.7), is taken from the
 * ring, its headers are read, the blocks are copied from a disk in memory, status bytes are written,
 * and the requests are given back. The driver side is here too; it is not timed. For each line
 * "SECONDS" of standard input it prints {"ns": CPU TIME OF A REQUEST}. native/blk/examples/ring_floor.rs
 * does the same with our ring; sizes and order of the blocks are the same. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIZE = 256, BATCH = 32, BLOCK = 4096, BLOCKS = 16384, PARTS = 3 };
enum { NEXT = 1, WRITE = 2 };

struct desc { uint64_t addr; uint32_t len; uint16_t flags, next; };
struct avail { uint16_t flags; _Atomic uint16_t idx; uint16_t ring[SIZE], used_event; };
struct used_elem { uint32_t id, len; };
struct used { uint16_t flags; _Atomic uint16_t idx; struct used_elem ring[SIZE]; uint16_t avail_event; };
struct header { uint32_t type, reserved; uint64_t sector; };

static struct desc table[SIZE];
static struct avail avail;
static struct used used;
static struct header headers[BATCH];
static char statuses[BATCH];
static char *disk, *buffers;
static uint16_t taken, given;
static unsigned interrupts;

static uint64_t block_of(uint64_t number)
{
    return number * 0x9e3779b97f4a7c15u % BLOCKS;
}

static void add(uint64_t *number)
{
    uint16_t idx = atomic_load_explicit(&avail.idx, memory_order_relaxed);
    for (int i = 0; i < BATCH; i++) {
        struct desc *first = &table[PARTS * i];
        headers[i] = (struct header){0, 0, block_of((*number)++) * (BLOCK / 512)};
        first[0] = (struct desc){(uintptr_t)&headers[i], 16, NEXT, (uint16_t)(PARTS * i + 1)};
        first[1] = (struct desc){(uintptr_t)(buffers + BLOCK * i), BLOCK, NEXT | WRITE, (uint16_t)(PARTS * i + 2)};
        first[2] = (struct desc){(uintptr_t)&statuses[i], 1, WRITE, 0};
        avail.ring[(uint16_t)(idx + i) % SIZE] = (uint16_t)(PARTS * i);
    }
    avail.used_event = (uint16_t)(given + BATCH - 1);
    atomic_store_explicit(&avail.idx, (uint16_t)(idx + BATCH), memory_order_release);
}

static void serve(void)
{
    uint16_t heads[BATCH], count = 0;
    uint16_t end = atomic_load_explicit(&avail.idx, memory_order_acquire);
    while (taken != end) {
        uint16_t head = avail.ring[taken++ % SIZE];
        struct desc *one = &table[head];
        const struct header *header = (void *)(uintptr_t)one->addr;
        struct desc *data = &table[one->next];
        memcpy((void *)(uintptr_t)data->addr, disk + header->sector * 512, data->len);
        *(char *)(uintptr_t)table[data->next].addr = 0;
        heads[count++] = head;
    }
    for (uint16_t i = 0; i < count; i++)
        used.ring[(uint16_t)(given + i) % SIZE] = (struct used_elem){heads[i], BLOCK + 1};
    uint16_t old = given;
    given = (uint16_t)(given + count);
    atomic_store_explicit(&used.idx, given, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    interrupts += (uint16_t)(given - avail.used_event - 1) < (uint16_t)(given - old);
}

static double now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(void)
{
    double seconds;
    uint64_t number = 0;
    disk = aligned_alloc(BLOCK, (size_t)BLOCKS * BLOCK);
    buffers = aligned_alloc(BLOCK, (size_t)BATCH * BLOCK);
    if (disk == NULL || buffers == NULL)
        return 1;
    memset(disk, 0xA5, (size_t)BLOCKS * BLOCK);
    memset(buffers, 0, (size_t)BATCH * BLOCK);
    while (scanf("%lf", &seconds) == 1) {
        double begin = now_ns(CLOCK_MONOTONIC), inside = 0;
        long batches = 0;
        do {
            add(&number);
            double start = now_ns(CLOCK_THREAD_CPUTIME_ID);
            serve();
            inside += now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
            batches++;
        } while (now_ns(CLOCK_MONOTONIC) - begin < seconds * 1e9);
        if (interrupts != batches || buffers[0] != (char)0xA5)
            return 1;
        interrupts = 0;
        printf("{\"ns\": %.2f}\n", inside / (double)(batches * BATCH));
        fflush(stdout);
    }
    return 0;
}
