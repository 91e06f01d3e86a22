/* Bit fields that share their bytes with others, one that has its own, and one in a frame. */
struct bits { unsigned a : 3; int b : 5; unsigned long c : 40; unsigned char whole : 8; } bits, *p = &bits;

int kmain(void)
{
    struct bits local = {0};
    bits.b = 3;
    bits.a = 5;
    local.a = 2;
    bits.whole = 9;
    bits.b = 4;
    return local.a;
}
