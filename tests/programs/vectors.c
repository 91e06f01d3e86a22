/* Vectors of compilers, passed to functions and returned by them. */
typedef int four __attribute__((vector_size(16)));
typedef short small __attribute__((vector_size(8)));
struct wrapped { four v; };
struct mixed { small a; int b; };
four lanes = {1, 2, 3, 4};
struct wrapped wrapped = {{9, 8, 7, 6}};
struct mixed mixed = {{5, 6, 7, 8}, 77};
int sum(four v) { return v[0] + v[1] * 10 + v[2] * 100 + v[3] * 1000; }
four twice(four v) { return v * 2; }
int between(int a, four v, int b) { return a * 1000 + v[3] * 10 + b; }
int many(four a, four b, four c, four d, four e, four f, four g, four h, int x, four i) {
  return a[0] + h[3] + i[1] * 1000 + x;
}
int in_wrapped(struct wrapped w) { return w.v[0] * 10 + w.v[3]; }
struct wrapped wrap(int a) { return (struct wrapped){{a, a + 1, a + 2, a + 3}}; }
struct mixed more(struct mixed m) { m.a *= 2; m.b++; return m; }
void kmain(void) { lanes = twice(lanes); }
