/* Blocks in an inlined function: names that hide others, a static variable. */
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
volatile int sink;

__attribute__((noinline)) void here(int n) { __asm__ volatile("" : : "r"(n)); }

static int scoped(int value)
{
    int same = value;
    {
        int between = same + 1;
        static int kept = 7;
        {
            int same = between * 2;
            kept += same;
            here(kept);
        }
        same += kept;
    }
    return same;
}

void kmain(void)
{
    sink = 3;
    sink = scoped(sink);
    sink = scoped(sink);
    for (;;)
        __asm__ volatile("hlt");
}
