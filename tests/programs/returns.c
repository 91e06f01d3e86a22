/* Functions that return values of all kinds, without arithmetic of floating point, which the software KVM cannot run. */
struct small { short a, b; };
struct large { int a; double b; char c[4]; };
union either { int i; float f; };
typedef long long ll;
static struct large kept = { 1, 2.5, "abc" };
#define KEPT __attribute__((noinline))
#define HERE __asm__ volatile("")
KEPT struct small one_small(short a) { HERE; struct small s = { a, -2 }; return s; }
KEPT struct large one_large(int a) { HERE; struct large l = kept; l.a = a; return l; }
KEPT union either one_union(int i) { HERE; union either e = { i }; return e; }
KEPT ll one_long(ll x) { HERE; return x * 3; }
KEPT char one_char(char c) { HERE; return c + 1; }
KEPT const char *one_text(void) { HERE; return kept.c; }
KEPT int fact(int n) { HERE; return n < 2 ? 1 : n * fact(n - 1); }
KEPT int total(struct large l, const char *text) { HERE; return l.a + l.c[0] + text[0]; }
KEPT int crash(int *p) { HERE; return *p + *(volatile int *)0xf0000000; }
volatile int calls;
KEPT void nothing(int n) { HERE; calls += n; }
void kmain(void)
{
    one_small(7);
    one_large(9);
    one_union(5);
    one_long(1ll << 40);
    one_char('a');
    one_text();
    fact(4);
    nothing(1);
    total(kept, "x");
    crash(0);
    __asm__ volatile("hlt");
    for (;;) ;
}
