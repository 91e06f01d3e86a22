/* Steps: a function in a file of its own, a loop that never leaves its line. */
#line 1 "inner.h"
int inner(int x)
{
    return x + 1;
}
#line 7 "steps.c"
volatile int sink;
void kmain(void)
{
    sink = inner(1);
    sink = inner(2);
    for (;;);
}
