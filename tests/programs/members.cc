/* C++: members of all kinds, base classes, references, pointers to members, functions that share a name. */
namespace std { typedef unsigned long size_t; }
namespace outer { namespace inner { int deep = 7; struct Point { int x, y; }; enum class Colour : unsigned char { red, green = 5, blue }; } }
namespace short_name = outer::inner;
namespace { int hidden = 3; struct Secret { int a; } secret = {4}; }
enum class Level { low = -1, high = 10 };
enum Plain { one, two = 4, four = 8 };

struct Base { int b = 1; static int count; static const int limit = 42; virtual int area() { return b; } virtual ~Base() {} int plain() const { return b + 1; } };
int Base::count = 9;
struct Other { long o = 2; virtual int weight() { return o; } };
struct Derived : public Base, protected Other { int d = 3; int area() override { return d; } private: int hidden_field = 5; protected: char tag = 'x'; public: typedef int number; enum Kind { small, large } kind = large; static Derived *all; struct Nested { int n; } nested{6}; };
Derived *Derived::all = nullptr;
struct Virtual1 : virtual Base { int v1 = 11; };
struct Virtual2 : virtual Base { int v2 = 12; };
struct Diamond : Virtual1, Virtual2 { int dd = 13; };

template<class T, int N> struct Array { T items[N]; int size() const { return N; } T &operator[](int i) { return items[i]; } };
template<class T> T biggest(T a, T b) { return a > b ? a : b; }
template<> struct Array<bool, 3> { char bits; };

struct Vec { int x, y; Vec operator+(const Vec &o) const { return {x + o.x, y + o.y}; } bool operator==(const Vec &o) const { return x == o.x && y == o.y; } operator int() const { return x; } Vec &operator++() { x++; return *this; } int operator()(int k) { return x * k; } Vec operator--(int) { Vec was = *this; x--; return was; } };
struct Anon { int kind; union { int i; float f; struct { short lo, hi; }; }; };
struct Bits { unsigned a : 3; bool flag : 1; Level l : 8; };
struct WithRef { int &r; const int *const p; };
struct Empty {};
class Private { int secret = 1; public: int shown = 2; private: int more = 3; };
struct Init { Init(int a) : a(a) {} Init() : a(0) {} explicit Init(const char *) : a(1) {} ~Init() {} int a; Init(const Init &) = default; };

Vec less(Vec one) { return one--; }
const char *const names[] = {"a", "b"};
int plain_function(int a, int b) { return a + b; }
int overloaded(int a) { return a + 1; }
int overloaded(long a) { return (int)a + 2; }
int overloaded(const char *a) { return a[0]; }

Derived derived;
Base *base_pointer = &derived;
Base &base_ref = derived;
Diamond diamond;
Array<int, 3> ints = {{1, 2, 3}};
Array<Array<char, 2>, 2> nested_array = {{{{'a', 'b'}}, {{'c', 'd'}}}};
Array<bool, 3> special = {5};
Vec vec = {3, 4};
Anon anon = {1, {5}};
Bits bits = {5, true, Level::high};
int target = 77;
int &ref = target;
const int &cref = target;
int &&rref = 5 + 3;
WithRef with_ref = {target, &target};
Empty empty;
Private priv;
Init init(4);
outer::inner::Point point = {1, 2};
outer::inner::Colour colour = outer::inner::Colour::green;
Level level = Level::high;
Plain plain = two;
int Base::*member_pointer = &Base::b;
int Derived::*member_pointer2 = &Derived::d;
int (Base::*method_pointer)() = &Base::area;
int (Base::*method_pointer2)() const = &Base::plain;
int (*function_pointer)(int, int) = plain_function;
int (&function_ref)(int, int) = plain_function;
int (&array_ref)[3] = ints.items;
bool truth = true;
char16_t c16 = u'x'; char32_t c32 = U'y'; wchar_t wc = L'z';
decltype(nullptr) null = nullptr;
auto lambda = [](int a) { return a * 2; };
struct Tree { Tree *left, *right; int value; } tree = {nullptr, nullptr, 1};
union U { int i; float f; U() : i(3) {} } uni;
constexpr int cexpr = 99;
const char *text = "hello";
struct Fwd; Fwd *fwd = nullptr;

extern "C" void marker() {}
extern "C" void kmain() {
  Diamond built;
  Derived local; int captured = 5; int &local_ref = captured;
  auto closure = [&captured, captured2 = captured + 1](int a) { return captured + captured2 + a; };
  marker();
  int r = closure(1) + lambda(2) + ints.size() + biggest(1, 2) + overloaded(1) + overloaded(1L) + overloaded("a") + local.area() + (vec + vec).x + (vec == vec) + vec(3) + (int)(++vec).x + base_pointer->plain() + init.a + ints[1] + cexpr + hidden + secret.a + local_ref + short_name::deep;
  for (;;) target = r;
}
void operator delete(void *) {}
void operator delete(void *, unsigned long) {}
void operator delete(void *, unsigned) {}
namespace __cxxabiv1 { }
extern "C" void __cxa_pure_virtual() {}
extern "C" int __cxa_atexit(void (*)(void *), void *, void *) { return 0; }
void *__dso_handle;
