/* Optimized: of these structures only some members are kept. */
struct inner { int x, y; };
struct whole { int a; int b; long c; char name[4]; struct inner inner; unsigned low : 3, high : 5; };
int sink;
__attribute__((noipa)) void here(int x) { sink += x; }

__attribute__((noipa)) int parts(int k) {
  struct whole some;
  some.a = k * 3, some.b = k + 1, some.c = 7, some.inner.y = k + 5;
  here(some.a);
  here(some.b);
  return some.a + some.b + some.c + some.inner.y;
}

void _start(void) {
  sink = parts(4);
  for (;;);
}
