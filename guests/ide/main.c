/* A multiboot kernel with an IDE driver: finds the drives of both channels, prints what each says of itself, and the first
   line of its first sector; copies sector 0 of a hard disk to its last sector and reads that back. */
#include <stdint.h>

static void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void in_words(uint16_t port, void *to, uint32_t count)
{
    __asm__ volatile("rep insw" : "+D"(to), "+c"(count) : "d"(port) : "memory");
}

static void out_words(uint16_t port, const void *from, uint32_t count)
{
    __asm__ volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory");
}

static void say(const char *text)
{
    while (*text)
        outb(0x3f8, *text++);
}

static void say_number(uint32_t value)
{
    char digits[11], *at = digits + 10;
    *at = 0;
    do
        *--at = '0' + value % 10;
    while (value /= 10);
    say(at);
}

enum { BUSY = 0x80, REQUEST = 0x08, FAILED = 0x01 };
enum { DATA, ERROR, SECTORS, LOW, MIDDLE, HIGH, DEVICE, COMMAND };

/* The status once the drive is not busy any more. */
static uint8_t wait(uint16_t base)
{
    uint8_t status;
    while ((status = inb(base + COMMAND)) & BUSY)
        ;
    return status;
}

/* Begin to move one sector; whether the drive wants the data to be moved. */
static int begin(uint16_t base, int slave, uint32_t sector, uint8_t command)
{
    outb(base + DEVICE, 0xe0 | slave << 4 | (sector >> 24 & 15));
    outb(base + SECTORS, 1);
    outb(base + LOW, sector);
    outb(base + MIDDLE, sector >> 8);
    outb(base + HIGH, sector >> 16);
    outb(base + COMMAND, command);
    return (wait(base) & (REQUEST | FAILED)) == REQUEST;
}

static int read_sector(uint16_t base, int slave, uint32_t sector, void *to)
{
    if (!begin(base, slave, sector, 0x20))
        return 0;
    in_words(base + DATA, to, 256);
    return 1;
}

static int write_sector(uint16_t base, int slave, uint32_t sector, const void *from)
{
    if (!begin(base, slave, sector, 0x30))
        return 0;
    out_words(base + DATA, from, 256);
    return !(wait(base) & FAILED);
}

/* One block of 2,048 bytes of a CD. */
static int read_block(uint16_t base, int slave, uint32_t block, void *to)
{
    uint8_t packet[12] = {0x28, 0, block >> 24, block >> 16, block >> 8, block, 0, 0, 1};
    outb(base + DEVICE, 0xa0 | slave << 4);
    outb(base + ERROR, 0);
    outb(base + MIDDLE, 2048 & 0xff);
    outb(base + HIGH, 2048 >> 8);
    outb(base + COMMAND, 0xa0);
    if (!(wait(base) & REQUEST))
        return 0;
    out_words(base + DATA, packet, 6);
    if (!(wait(base) & REQUEST))
        return 0;
    in_words(base + DATA, to, 1024);
    return !(wait(base) & (REQUEST | FAILED));
}

static void say_line(const char *text)
{
    char line[41];
    int n;
    for (n = 0; n < 40 && text[n] >= ' ' && text[n] <= '~'; n++)
        line[n] = text[n];
    line[n] = 0;
    say(line);
    say("\n");
}

static uint16_t about[256];
static char sector[2048], again[512];

static void look_at(int channel, int slave)
{
    static const uint16_t bases[] = {0x1f0, 0x170};
    uint16_t base = bases[channel];
    char model[41];
    int is_cd = 0, n;

    outb(base + DEVICE, 0xa0 | slave << 4);
    if (inb(base + COMMAND) == 0 || inb(base + COMMAND) == 0xff)
        return;
    outb(base + COMMAND, 0xec);
    if (wait(base) & FAILED) {
        is_cd = inb(base + MIDDLE) == 0x14 && inb(base + HIGH) == 0xeb;
        outb(base + COMMAND, 0xa1);
        if (!is_cd || wait(base) & FAILED)
            return;
    }
    in_words(base + DATA, about, 256);
    for (n = 0; n < 40; n++)
        model[n] = about[27 + n / 2] >> (n & 1 ? 0 : 8);
    while (n > 0 && model[n - 1] == ' ')
        n--;
    model[n] = 0;
    say("channel ");
    say_number(channel);
    say(", drive ");
    say_number(slave);
    say(": ");
    say(model);
    if (is_cd) {
        say("\n  first block: ");
        say_line(read_block(base, slave, 0, sector) ? sector : "cannot be read");
        return;
    }
    uint32_t count = about[60] | (uint32_t)about[61] << 16;
    say(", ");
    say_number(count);
    say(" sectors\n  first sector: ");
    say_line(read_sector(base, slave, 0, sector) ? sector : "cannot be read");
    if (!write_sector(base, slave, count - 1, sector) || !read_sector(base, slave, count - 1, again))
        say("  cannot be written\n");
    else
        say(again[0] == sector[0] && again[1] == sector[1] ? "  copied to the last sector\n" : "  copied wrongly\n");
    if (read_sector(base, slave, count, again))
        say("  there is a sector behind the last\n");
}

void kernel_main(void)
{
    for (int channel = 0; channel < 2; channel++)
        for (int slave = 0; slave < 2; slave++)
            look_at(channel, slave);
    say("done\n");
    outb(0xf4, 0);
}
