/* A kernel that prints what its boot loader hands over, by multiboot 1 or 2, on the serial port. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

static void put(char c)
{
    u16 port = 0x3f8;
    u8 status;
    do
        __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((u16)(port + 5)));
    while (!(status & 0x20));
    __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"(port));
}

static void text(const char *s)
{
    while (*s)
        put(*s++);
}

static void number(u64 value, int base)
{
    char digits[24];
    int n = 0;
    u32 high = value >> 32, low = value;

    if (base == 16) {
        text("0x");
        for (; high || low; low = low >> 4 | high << 28, high >>= 4)
            digits[n++] = "0123456789abcdef"[low & 15];
    } else {
        for (; low; low /= 10)
            digits[n++] = '0' + low % 10;
    }
    if (!n)
        put('0');
    while (n)
        put(digits[--n]);
}

static void hex(const char *name, u64 value)
{
    text(name);
    number(value, 16);
}

static void decimal(const char *name, u32 value)
{
    text(name);
    number(value, 10);
}

static u32 sum_of(u32 start, u32 end)
{
    u32 sum = 0;
    while (start < end)
        sum += *(u8 *)start++;
    return sum;
}

static void module(u32 start, u32 end, u32 words)
{
    text(start & 0xfff ? "module, not on a page: " : "module: ");
    text((char *)words);
    decimal(", ", end - start);
    decimal(" bytes, sum ", sum_of(start, end));
    text("\n");
}

static void area(u64 start, u64 length, u32 type)
{
    hex("memory: ", start);
    hex(" to ", start + length);
    decimal(" type ", type);
    text("\n");
}

static void memory(u32 lower, u32 upper)
{
    decimal("lower: ", lower);
    decimal(" KiB, upper: ", upper);
    text(" KiB\n");
}

static void screen(u64 at, u32 width, u32 height, u32 type)
{
    hex("screen at ", at);
    decimal(": ", width);
    decimal("x", height);
    decimal(" type ", type);
    text("\n");
}

/* Multiboot 1: fields at fixed places, each there if its flag is. */
struct information {
    u32 flags, lower, upper, boot_device, cmdline, modules, modules_at;
    u32 sections, section_size, sections_at, section_names;
    u32 map_length, map, drives_length, drives, config, loader, apm, vbe[4];
    u64 screen;
    u32 pitch, width, height;
    u8 bits, type;
} __attribute__((packed));

static void first(struct information *info)
{
    text("multiboot 1\n");
    if (info->flags & 1 << 2) {
        text("command line: ");
        text((char *)info->cmdline);
        text("\n");
    }
    if (info->flags & 1 << 9) {
        text("loader: ");
        text((char *)info->loader);
        text("\n");
    }
    if (info->flags & 1)
        memory(info->lower, info->upper);
    if (info->flags & 1 << 6)
        for (u32 at = info->map; at < info->map + info->map_length; at += 4 + *(u32 *)at)
            area(*(u64 *)(at + 4), *(u64 *)(at + 12), *(u32 *)(at + 20));
    if (info->flags & 1 << 3)
        for (u32 n = 0; n < info->modules; n++) {
            u32 *one = (u32 *)info->modules_at + 4 * n;
            module(one[0], one[1], one[2]);
        }
    if (info->flags & 1 << 5) {
        decimal("sections: ", info->sections);
        text("\n");
    }
    if (info->flags & 1 << 12)
        screen(info->screen, info->width, info->height, info->type);
}

/* Multiboot 2: tags of a type and a size, one behind the other. */
static void second(u32 at)
{
    text("multiboot 2\n");
    for (at += 8;; at += (((u32 *)at)[1] + 7) & ~7u) {
        u32 *tag = (u32 *)at;
        switch (tag[0]) {
        case 0:
            return;
        case 1:
            text("command line: ");
            text((char *)(tag + 2));
            text("\n");
            break;
        case 2:
            text("loader: ");
            text((char *)(tag + 2));
            text("\n");
            break;
        case 3:
            module(tag[2], tag[3], (u32)(tag + 4));
            break;
        case 4:
            memory(tag[2], tag[3]);
            break;
        case 6:
            for (u32 one = at + 16; one < at + tag[1]; one += tag[2])
                area(*(u64 *)one, *(u64 *)(one + 8), *(u32 *)(one + 16));
            break;
        case 8:
            screen(*(u64 *)(tag + 2), tag[5], tag[6], tag[7] >> 8 & 0xff);
            break;
        case 9:
            decimal("sections: ", tag[2]);
            text("\n");
            break;
        default:
            decimal("tag ", tag[0]);
            text("\n");
        }
    }
}

void kernel(u32 magic, u32 info)
{
    if (magic == 0x2BADB002)
        first((struct information *)info);
    else if (magic == 0x36d76289)
        second(info);
    else
        hex("no multiboot: magic ", magic);
    text("done\n");
}
