/* A program whose main function is called main, between others that a kernel's may be called. */
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
volatile int sink;

int main(void)
{
    int made = 3;
    sink = made;
    return made;
}

int kmain(void)
{
    int before = sink;
    return before + main();
}
