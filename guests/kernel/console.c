#include "kernel.h"

#define SERIAL 0x3f8

void print(const char *text)
{
    while (*text)
        outb(SERIAL, *text++);
}

void print_number(u64 value)
{
    char digits[21];
    int at = sizeof digits;

    digits[--at] = 0;
    do {
        digits[--at] = '0' + value % 10;
        value /= 10;
    } while (value);
    print(digits + at);
}
