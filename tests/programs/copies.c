/* A function of which GCC makes a copy for one caller, and keeps itself for the other: built with -O3. */
volatile int sink;
__attribute__((noinline)) int leaf(int x) { sink = x; return sink + x; }
__attribute__((noinline)) int work(int from, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += leaf(from * i) + count;
    return sum;
}
__attribute__((noinline)) int with_seven(int from) { return work(from, 7) + 1; }
__attribute__((noinline)) int with_any(int from, int count) { return work(from, count) + 2; }

int kmain(void) { return with_seven(sink + 3) + with_any(sink, sink); }
