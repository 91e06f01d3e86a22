/* Pointers to member functions: plain ones, virtual ones, and those of a base that lies further inside. */
struct First { int a = 1; int plain(int more) { return a + more; } virtual int area() { return a; } };
struct Second { long b = 20; long held(long by) const { return b * by; } virtual long weight() { return b; }
    long &place() { return b; } };
struct Pair { int x, y; };
struct Whole : First, Second {
    int c = 300;
    int area() override { return c; }
    long weight() override { return c + 1; }
    Pair both() { return {a, c}; }
};
struct Shared : virtual First { int s = 7; int area() override { return s + a; } };
struct Holder { int (First::*kept)(int); Whole *whole; };

typedef int (First::*Taking)(int);
Whole whole;
First first;
Whole *pointed = &whole;
First *base = &whole;
Second *second = &whole;
Whole &referred = whole;
Taking plain = &First::plain;
int (First::*area)() = &First::area;
long (Second::*held)(long) const = &Second::held;
long (Second::*weight)() = &Second::weight;
long (Whole::*whole_held)(long) const = &Second::held;
long (Whole::*whole_weight)() = &Second::weight;
int (Whole::*whole_plain)(int) = &First::plain;
long &(Second::*place)() = &Second::place;
Pair (Whole::*both)() = &Whole::both;
int (First::*none)(int) = nullptr;
int (First::*const constant)(int) = &First::plain;
int First::*no_data = nullptr;
int First::*data = &First::a;
long Whole::*whole_data = &Whole::b;
Shared sharing;
Shared *shared = &sharing;
int (Shared::*shared_area)() = &Shared::area;
Holder holder = {&First::plain, &whole};
int (First::*table[2])(int) = {&First::plain, nullptr};
int number = 3;

extern "C" void _start()
{
    number = (whole.*plain)(1) + (whole.*area)() + (whole.*held)(2) + (pointed->*both)().x;
    for (;;)
        ;
}
