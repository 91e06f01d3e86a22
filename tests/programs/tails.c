/* Functions that jump on to others, an alias, static functions of one name: built with -O2. */
volatile int sink;
__attribute__((noinline)) int leaf(int x) { sink = x; return x * 3; }
__attribute__((noinline)) int tail(int x) { sink = 1; return leaf(x + 1); }
__attribute__((noinline)) int first(int x) { sink++; return tail(x * 2); }
extern int other_name(int) __attribute__((alias("leaf")));
__attribute__((noinline)) int through(int (*f)(int)) { return f(sink) + 1; }

int kmain(void)
{
    int got = leaf(1);
    got += first(2);
    got += other_name(3);
    got += through(leaf);
    return got + sink;
}
