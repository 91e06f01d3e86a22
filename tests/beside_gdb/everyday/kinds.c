/* Values and places that are seldom met, in a program that runs alike as a process and as a guest. */
typedef unsigned char u8;
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
struct pair { int a, b; struct { u8 low, high; } in; };
struct empty { };
struct chars { int n; char d[]; };
struct ints { int n; int d[0]; };
typedef int lanes_t __attribute__((vector_size(16)));
struct pair pair = { 1, 2, { 3, 4 } };
struct empty nothing_in;
struct chars chars = { 3, "ab" };
struct ints ints = { 1 };
lanes_t lanes = { 1, 2, 3, 4 };
int matrix[2][4] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } };
char *none;
union { long double number; u8 bytes[10]; } odd = { .bytes = { 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0x40 } }, low = { .bytes = { 0, 0, 0, 0, 0, 0, 0, 0x80 } };
volatile int sink;

static void nothing(int by)
{
    sink += by;
}

static int deep(int n)
{
    int local = n * 2;
    if (n > 0) {
        int inner = n + 100;
        return deep(n - 1) + inner;
    }
    return local;
}

static int shows(int by)
{
    static struct pair local = { 1, 2, { 3, 4 } };
    static char letters[] = "abcdef";
    return local.a + letters[by & 3];
}

void kmain(void)
{
    int turns = 0;
again:
    turns++;
    nothing(turns);
    sink = deep(2) + turns;
    if (turns < 2)
        goto again;
    sink = shows(7);
    for (;;)
        __asm__ volatile("hlt");
}
