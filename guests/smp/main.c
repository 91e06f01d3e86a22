/* Finds the other processors in the MP tables, starts them by INIT and SIPI, and has each say who it is. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define TRAMPOLINE 0x8000

extern u8 trampoline[], trampoline_end[];
static volatile u32 *lapic;
static volatile int lock;
volatile u32 started, counted[16];

static void put(char c)
{
    __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((u16)0x3f8));
}

static void text(const char *s)
{
    while (*s)
        put(*s++);
}

static void number(u32 n)
{
    if (n >= 10)
        number(n / 10);
    put('0' + n % 10);
}

static void say(const char *before, u32 n, const char *after)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        ;
    text(before);
    number(n);
    text(after);
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static u32 sum(const u8 *at, u32 size)
{
    u8 total = 0;
    while (size--)
        total += *at++;
    return total;
}

static u8 *floating_pointer(u32 start, u32 end)
{
    for (u8 *at = (u8 *)start; at < (u8 *)end; at += 16)
        if (*(u32 *)at == 0x5f504d5f && !sum(at, 16))
            return at;
    return 0;
}

static void wait_until_sent(void)
{
    while (lapic[0x300 / 4] & 1 << 12)
        ;
}

static void start_processor(u8 id)
{
    u32 before = started;
    lapic[0x310 / 4] = id << 24;
    lapic[0x300 / 4] = 0x4500;                           /* INIT */
    wait_until_sent();
    lapic[0x310 / 4] = id << 24;
    lapic[0x300 / 4] = 0x4600 | TRAMPOLINE >> 12;        /* start-up */
    wait_until_sent();
    while (started == before)
        ;
}

static u32 own_id(void)
{
    return lapic[0x20 / 4] >> 24;
}

void count(u32 id)
{
    counted[id]++;
}

void other_processor(void)
{
    u32 id = own_id();
    say("processor ", id, " runs\n");
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    for (;;)
        count(id);
}

void boot_processor(void)
{
    u8 *pointer = floating_pointer(0x9fc00, 0xa0000), *entry;
    u32 left, processors = 0;

    if (!pointer)
        pointer = floating_pointer(0xf0000, 0x100000);
    if (!pointer) {
        text("no MP tables\n");
        return;
    }
    u8 *table = *(u8 **)(pointer + 4);
    if (*(u32 *)table != 0x504d4350 || sum(table, *(u16 *)(table + 4))) {
        text("the MP configuration table is damaged\n");
        return;
    }
    lapic = *(volatile u32 **)(table + 36);
    lapic[0xf0 / 4] |= 0x100;                            /* the local APIC is on */
    for (u8 *from = trampoline, *to = (u8 *)TRAMPOLINE; from < trampoline_end;)
        *to++ = *from++;
    left = *(u16 *)(table + 34);
    for (entry = table + 44; left--; entry += *entry ? 8 : 20) {
        if (*entry == 0) {
            processors++;
            if (entry[1] != own_id())
                start_processor(entry[1]);
        } else if (*entry == 2) {
            say("IOAPIC ", entry[1], "\n");
        }
    }
    say("", processors, " processors\n");
    for (;;)
        count(own_id());
}
