/* Four levels of page tables: the first GiB in large pages, and single pages of the heap as they are asked for. */
#include "kernel.h"

#define PRESENT 1UL
#define WRITE 2UL
#define LARGE 0x80UL
#define ADDRESS 0x000ffffffffff000UL
#define TABLES 8
#define FRAMES 0x400000UL /* physical memory for the heap */

static u64 tables[TABLES][512] __attribute__((aligned(4096)));
static int tables_used;
u64 pages_given;

static u64 *new_table(void)
{
    return tables[tables_used++];
}

/* The entry of a linear address on the lowest level; tables that are missing are put in. */
u64 *find_entry(u64 linear)
{
    u64 *table = tables[0];
    for (int shift = 39; shift > 12; shift -= 9) {
        u64 *entry = &table[linear >> shift & 511];
        if (!(*entry & PRESENT))
            *entry = (u64) new_table() | PRESENT | WRITE;
        table = (u64 *) (*entry & ADDRESS);
    }
    return &table[linear >> 12 & 511];
}

void map_page(u64 linear, u64 physical, u64 flags)
{
    *find_entry(linear) = physical | flags | PRESENT;
}

/* Called for each page fault: gives the heap a page where it has none. 0: this address is not the heap's. */
int demand_page(u64 linear)
{
    u64 page = linear & ~(PAGE - 1);
    if (page < HEAP || page >= HEAP + HEAP_PAGES * PAGE)
        return 0;
    map_page(page, FRAMES + pages_given * PAGE, WRITE);
    pages_given++;
    return 1;
}

void memory_init(void)
{
    u64 *top = new_table(), *directories = new_table(), *large = new_table();
    top[0] = (u64) directories | PRESENT | WRITE;
    directories[0] = (u64) large | PRESENT | WRITE;
    for (u64 at = 0; at < 512; at++)
        large[at] = at << 21 | PRESENT | WRITE | LARGE;
    __asm__ volatile("mov %0, %%cr3" ::"r"(top) : "memory");
}
