/* A small kernel for debuggers: tasks in a list, a timer interrupt, a system call for each turn. */

typedef unsigned long u64;

#define UART ((volatile unsigned char *)0x10000000)
#define MTIMECMP ((volatile u64 *)0x2004000)
#define MTIME ((volatile u64 *)0x200bff8)

struct point {
    int x, y;
};

struct task {
    const char *name;
    u64 id;
    struct point at;
    unsigned short key[4];
    struct task *next;
};

struct task idle = {"idle", 3, {7, -8}, {9, 9, 9, 9}, 0};
struct task shell = {"shell", 2, {5, 6}, {1, 2, 3, 4}, &idle};
struct task init = {"init", 1, {3, 4}, {10, 20, 30, 40}, &shell};

volatile u64 turns, timer_interrupts, system_calls;
volatile u64 weight = 5;
volatile u64 total;
/* Whether each turn makes a system call and sleeps. */
volatile u64 calls = 1;

char stack[8192] __attribute__((aligned(16)));
__asm__(".globl stack_top\n.set stack_top, stack + 8192");

/* Returns where to go on. */
u64 handle_trap(u64 cause, u64 pc) {
    if (cause >> 63) {
        timer_interrupts++;
        *MTIMECMP = *MTIME + 100000;
        return pc;
    }
    system_calls++;
    return pc + 4;
}

__attribute__((noinline)) u64 sum(const struct task *task) {
    u64 ids = 0;
    while (task) {
        ids += task->id;
        task = task->next;
    }
    return ids;
}

__attribute__((noinline)) void take_turn(struct task *task) {
    turns++;
    total = sum(task) * weight;
}

/* Says that the kernel is there. The line is 8N1. */
static void greet(void) {
    UART[3] = 3;
    for (const char *at = "small kernel\n"; *at; at++) {
        while (!(UART[5] & 0x20)) {
        }
        UART[0] = *at;
    }
}

void kernel_main(void) {
    greet();
    *MTIMECMP = *MTIME + 100000;
    __asm__ volatile("csrs mie, %0" ::"r"(1 << 7));
    __asm__ volatile("csrs mstatus, %0" ::"r"(1 << 3));
    for (;;) {
        take_turn(&init);
        if (calls) {
            __asm__ volatile(".globl call_here\ncall_here: ecall");
            __asm__ volatile(".globl sleep_here\nsleep_here: .option push\n.option norvc\nwfi\n.option pop");
        }
    }
}
