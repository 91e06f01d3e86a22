/* Classes whose objects functions get and return by where they are, bases, and functions of what others return. */
extern "C" { void *__dso_handle; int __cxa_atexit(void (*)(void *), void *, void *) { return 0; } }
struct V { int x; virtual int v(int k) { return x + k; } };
struct W : V { int v(int k) override { return x * k; } W plus(int k) { W r; r.x = x + k; return r; } };
struct Copied { int n; Copied(int k) : n(k) {} Copied(const Copied &o) : n(o.n + 100) {} Copied add(int k) { return Copied(n + k); } };
struct Moved { int n; Moved(int k) : n(k) {} Moved(Moved &&o) : n(o.n) {} };
struct Ended { int n; ~Ended() { n = -1; } };
struct Plain { int n; Plain() = default; Plain(const Plain &) = default; ~Plain() = default; };
struct Holds { Ended e[1]; };
struct Derived : Copied { Derived(int k) : Copied(k) {} };
template <class T> struct Box { T t; Box(T k) : t(k) {} Box(const Box &o) : t(o.t) {} };
Copied copied(3); Ended ended{4}; Plain plain{}; Holds holds{{5}}; W w; Derived derived(6); Box<int> box(8);
int of_copied(Copied c, int k) { return c.n * k; }
int of_ended(Ended e) { return e.n; }
int of_plain(int k, Plain p) { return p.n + k; }
int of_holds(Holds h, int k) { return h.e[0].n + k; }
int of_derived(Derived d) { return d.n; }
int of_box(Box<int> b, int k) { return b.t * k; }
int of_w(W a, int k) { return a.v(k); }
Copied make_copied(int k) { return Copied(k); }
Moved make_moved(int k) { return Moved(k); }
Ended make_ended(int k) { return Ended{k}; }
Plain make_plain(int k) { Plain p; p.n = k; return p; }
Derived make_derived(int k) { return Derived(k); }
Box<int> make_box(int k) { return Box<int>(k); }
W make_w(int k) { W r; r.x = k; return r; }
struct Base { int b; int bee() { return b; } };
struct Sum : Base {
  int n;
  int get(int k) { return n + k; }
  long get(long k) { return k; }
  Sum operator+(int k) const { return Sum{{b + k}, n + k}; }
  int operator[](int i) { return n * i; }
  static int st(int k) { return k; }
};
struct Named : Base { static int number; };
struct Virtual : virtual Base {};
struct Other : virtual Base {};
struct Both : Virtual, Other {};
int Named::number = 3;
struct Within { W w; Named named; } within;
Both both;
Sum sum{{2}, 3};
__attribute__((noinline)) void here(int n) { asm volatile("" :: "r"(n)); }
Sum make_sum(int k) { return Sum{{k}, k * 2}; }
extern "C" void _start() {
  w = make_w(7); copied.n = 3; ended.n = 4; plain.n = 9; holds.e[0].n = 5; derived.n = 6; box.t = 8; 
  here(of_copied(copied, 1) + of_ended(ended) + of_plain(1, plain) + of_holds(holds, 1) + of_derived(derived)
       + of_box(box, 2) + of_w(w, 1) + make_copied(1).n + make_moved(1).n + make_ended(1).n + make_plain(1).n
       + make_derived(2).n + make_box(2).t + w.plus(1).v(2) + copied.add(1).n + sum.get(1) + sum.get(1l)
       + (sum + 1).n + sum[1] + make_sum(1).bee());
  for (;;) asm volatile("hlt");
}
