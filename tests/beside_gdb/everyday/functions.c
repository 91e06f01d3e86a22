/* Functions that are all of one line, two of them of the same, with parts that are run several times. */
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");
volatile int sum;

int labels(int n) { again: if (n > 0) { n--; goto again; } return n; }
int loop(int n) { for (int i = 0; i < n; i++) sum += i; return sum; } int same(char n) { return n ? n + 1 : 0; }
int plain(int n) { return n + 1; }

int kmain(void)
{
    sum += labels(2);
    sum += loop(3) + same(4);
    return plain(5);
}
