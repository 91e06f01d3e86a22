#include "kernel.h"

#define DIVIDE_ERROR 0
#define PAGE_FAULT 14

struct gate {
    u16 offset_low, selector;
    u8 stack_table, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};

struct __attribute__((packed)) table_pointer {
    u16 limit;
    void *base;
};

extern void (*const entries[18])(void);
static struct gate idt[32] __attribute__((aligned(16)));
static const u64 gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
u32 traps[32];

static void stop(struct trap_frame *frame)
{
    print("trap ");
    print_number(frame->vector);
    print(" at ");
    print_number(frame->rip);
    print("\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* Called from interrupts_entry.S. */
void handle(struct trap_frame *frame)
{
    u64 address;

    traps[frame->vector]++;
    switch (frame->vector) {
    case DIVIDE_ERROR: /* the quotient shall be 0: over the two bytes of `div %rcx` and its prefix */
        frame->rax = 0;
        frame->rip += 3;
        break;
    case PAGE_FAULT:
        __asm__ volatile("mov %%cr2, %0" : "=r"(address));
        if (!demand_page(address))
            stop(frame);
        break;
    default:
        stop(frame);
    }
}

void interrupts_init(void)
{
    struct table_pointer gdtr = {sizeof gdt - 1, (void *) gdt}, idtr = {sizeof idt - 1, idt};

    for (int vector = 0; vector < 18; vector++) {
        u64 offset = (u64) entries[vector];
        idt[vector] = (struct gate){offset, 8, 0, 0x8e, offset >> 16, offset >> 32, 0};
    }
    __asm__ volatile(
        "lgdt %0\n"
        "push $8\n"
        "lea 1f(%%rip), %%rax\n"
        "push %%rax\n"
        "lretq\n"
        "1: mov $16, %%eax\n"
        "mov %%eax, %%ss\n"
        "mov %%eax, %%ds\n"
        "mov %%eax, %%es\n"
        "lidt %1" ::"m"(gdtr), "m"(idtr) : "rax", "memory");
}
