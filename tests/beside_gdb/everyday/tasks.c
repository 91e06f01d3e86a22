/* A program that runs alike as a process and as a guest: gdb and kvmdbg are told the same in it. */
typedef unsigned long u64;
struct task { const char *name; int state; int runs; int priority; u64 total; void (*step)(struct task *); struct task *next; };
__asm__(".globl _start\n_start: mov $stack_top, %rsp\n xor %ebp, %ebp\n call kmain\n1: hlt\n jmp 1b\n"
        ".bss\n.balign 16\n.skip 8192\nstack_top:\n.text");

static u64 divide(u64 value, u64 by)
{
    __asm__("div %%rcx" : "+a"(value) : "c"(by), "d"(0L));
    return value;
}

static void count(struct task *task)
{
    for (int number = 0; number <= task->priority; number++)
        task->total += number;
}

static void shrink(struct task *task)
{
    u64 left = 5 - task->runs;
    task->total += divide(1000, left);
}

static struct task all[] = {
    {"shrink", 1, 0, 2, 0, shrink, &all[1]},
    {"count", 1, 0, 3, 0, count, &all[0]},
};
volatile int sink;

static inline __attribute__((always_inline)) int emit(int c)
{
    int twice = c * 2;
    sink = twice;
    return twice;
}

__attribute__((noinline)) int fact(int n)
{
    if (n < 2)
        return 1;
    return n * fact(n - 1);
}

struct pair { int a, b; };
__attribute__((noinline)) struct pair pair_of(int a, int b)
{
    struct pair made = {a, b};
    sink = a;
    return made;
}

__attribute__((noinline)) int last(int x) { sink = x; return x + 1; }
__attribute__((noinline)) int tail(int x) { sink = x + 5; return last(x * 2); }

__attribute__((noinline)) int loops(int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++) {
        if (i == 2)
            continue;
        sum += emit(i);
    }
    while (n-- > 0)
        sum++;
    switch (sum & 3) {
    case 0: sum += 10; break;
    case 1: sum += 20; /* fall through */
    default: sum += 30;
    }
    return sum;
}

__attribute__((noinline)) int by_pointer(int (*f)(int), int *out)
{
    *out = f(3);
    return *out + f(4);
}

void kmain(void)
{
    int out = 0;
    for (int turn = 0; turn < 3; turn++)
        for (int at = 0; at < 2; at++) {
            all[at].runs++;
            all[at].step(&all[at]);
        }
    out += fact(4);
    out += pair_of(out, 7).b;
    out += tail(out);
    out += loops(4);
    by_pointer(fact, &out);
    sink = out;
    for (;;)
        __asm__ volatile("hlt");
}
