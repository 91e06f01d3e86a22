/* A unikernel for Solo5's hvt, by its hypercalls alone: it says hello, shows its command line, reads a sector of its
   block device "disk", writes the next one, and halts with the status 7. Addresses are physical ones throughout. */
#include <stddef.h>
#include <stdint.h>

enum { WALLTIME = 1, PUTS, POLL, BLOCK_WRITE, BLOCK_READ, NET_WRITE, NET_READ, HALT };

struct boot_info {
    uint64_t mem_size, kernel_end, cycle_hz;
    const char *cmdline;
    const struct manifest *manifest;
};

struct device {
    char name[68];
    uint32_t type;
    union {
        struct {
            uint64_t capacity;
            uint16_t block_size;
        } block;
        uint8_t net[8];
    } properties;
    uint64_t host;
    uint8_t attached;
};

struct manifest {
    uint32_t version, entries;
    struct device devices[2];
};

/* The notes: which interface of Solo5's this is for, and the devices that it wants. */
struct note {
    uint32_t name_size, size, type;
    char name[8];
};

__attribute__((section(".note.solo5.abi"), aligned(4), used)) const struct {
    struct note note;
    uint32_t target, version, reserved[2];
} abi_note = {{6, 16, 0x31494241, "Solo5"}, 1, 2, {0, 0}};

__attribute__((section(".note.solo5.manifest"), aligned(8), used)) const struct {
    struct note note;
    struct manifest manifest; /* at 24: it is aligned to 8 */
} manifest_note = {
    {6, 4 + sizeof(struct manifest), 0x3154464d, "Solo5"},
    {1, 2, {{.name = "", .type = 1u << 30}, {.name = "disk", .type = 1}}},
};

static void hypercall(int number, volatile void *arguments)
{
    __asm__ volatile("outl %0, %1" : : "a"((uint32_t)(uintptr_t)arguments), "d"((uint16_t)(0x500 + number)) : "memory");
}

static size_t length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

void say(const char *text)
{
    volatile struct {
        const char *data;
        size_t size;
    } arguments = {text, length(text)};
    hypercall(PUTS, &arguments);
}

static void say_number(uint64_t value)
{
    char digits[21], *at = digits + 20;
    *at = 0;
    do
        *--at = '0' + value % 10;
    while (value /= 10);
    say(at);
}

static void halt(int status)
{
    volatile struct {
        void *cookie;
        int status;
    } arguments = {NULL, status};
    hypercall(HALT, &arguments);
    for (;;)
        ;
}

static int block(int number, uint64_t handle, uint64_t offset, void *data)
{
    volatile struct {
        uint64_t handle, offset;
        void *data;
        size_t size;
        int result;
    } arguments = {handle, offset, data, 512, -1};
    hypercall(number, &arguments);
    return arguments.result;
}

static char sector[513];

__attribute__((noreturn)) void _start(const struct boot_info *info)
{
    volatile uint64_t now = 0;
    volatile struct {
        uint64_t timeout, ready;
        int result;
    } poll = {1000000, 0, -1};
    say("Hello from hvt: ");
    say(info->cmdline);
    say("\n");
    say_number(info->mem_size >> 20);
    say(" MiB, disk of ");
    say_number(info->manifest->devices[1].properties.block.capacity / info->manifest->devices[1].properties.block.block_size);
    say(" sectors\n");
    if (block(BLOCK_READ, 1, 0, sector))
        halt(1);
    say(sector);
    sector[0] = 'W';
    if (block(BLOCK_WRITE, 1, 512, sector) || block(BLOCK_READ, 1, 1 << 30, sector) != 2)
        halt(2);
    hypercall(WALLTIME, &now);
    hypercall(POLL, &poll);
    say(now >> 32 && poll.result == 0 ? "done\n" : "no time\n");
    halt(7);
    __builtin_unreachable();
}
