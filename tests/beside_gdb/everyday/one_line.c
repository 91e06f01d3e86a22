/* Loops of one line each. */
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
volatile int sum;

__attribute__((noinline)) void work(int n)
{
    __asm__ volatile("1: dec %0; jnz 1b" : "+r"(n));
    sum = 0;
    for (int i = 0; i < 5; i++) sum += i;
    while (sum > 3) sum--;
    sum = 7;
}

void kmain(void)
{
    work(5);
    for (;;)
        __asm__ volatile("hlt");
}
