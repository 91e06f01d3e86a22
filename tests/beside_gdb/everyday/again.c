/* A function that calls itself. */
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
volatile int sink;

__attribute__((noinline)) int recurse(int a)
{
    int b = 0;
    if (a == 1)
        return 1;
    b = a;
    b *= recurse(a - 1);
    return b;
}

void kmain(void)
{
    sink = recurse(5);
    sink = 0;
    for (;;)
        __asm__ volatile("hlt");
}
