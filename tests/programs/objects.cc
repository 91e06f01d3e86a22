/* Objects of C++ that pointers to their bases lead to. */
struct Base { int b = 1; virtual int area() { return b; } };
struct Other { long o = 2; virtual int weight() { return 1; } };
struct Derived : public Base, public Other { int d = 3; int area() override { return d; } };
namespace deep { struct Deep : Derived { int q = 9; int weight() override { return 4; } virtual int more() { return q; } }; }
struct Virtual : virtual Base { int v = 7; int area() override { return v; } };
template <class T, int N> struct Row : Other { T at[N] = {}; };
struct Plain { int x; } plain;
Base base;
Derived derived;
deep::Deep bottom;
Row<char, 3> row;
Base *to_base = &base, *to_derived = &derived, *to_bottom = &bottom, *null, *broken = (Base *) &plain;
const Base *to_const = &bottom;
Other *second = &derived, *third = &bottom, *to_row = &row;
Base &reference = derived;
const Other &other_reference = bottom;
struct Holder { Base *p; Other &q; Plain *plain; } holder = {&derived, bottom, &plain};
Base *rows[2] = {&derived, &bottom};
void *nowhere = &bottom;

extern "C" void here() {}
extern "C" void kmain()
{
    Virtual local;
    Base *to_virtual = &local;
    Base *through = to_virtual;
    here();
    for (;;) ;
}
