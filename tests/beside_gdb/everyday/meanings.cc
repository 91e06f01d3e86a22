/* Names that are said in several ways: using, other names of namespaces, members by bases, what lies in functions. */
namespace outer {
namespace inner {
int depth = 3, twin = 1;
struct Point {
    int x = 1, y = 2;
    int sum() const
    {
        return x + y;
    }
};
int area(int w) { return w * w; }
int area(int w, int h) { return w * h; }
long area(Point p) { return p.x * p.y; }
int solo(int a) { return a + 5; }
enum Level { low = 3, high };
}
using inner::Point;
using inner::solo;
using inner::depth;
using inner::area;
using inner::Level;
int value = 11;
}
namespace oi = outer::inner;
namespace opened { int in_opened = 21; int of_opened(int a) { return a + 2; } struct Inside { int q = 4; }; }
using namespace opened;
namespace through { using namespace outer::inner; int own = 1; }
inline namespace v1 { int versioned(int a) { return a + 3; } }
int n = 100, twin = 2, total = 500;
int get() { return 1000; }
struct Base {
    int b = 7;
    static int count;
    typedef long number;
    enum Inside { first = 8 };
    struct Nest { int z = 3; } nest;
    int plain(int q) { return b + q; }
    static int twice(int q) { return q * 2; }
};
int Base::count = 42;
struct Counter : Base {
    int n = 5, total = 6;
    int get()
    {
        return n;
    }
    int over(int) { return 1; }
    int over(char) { return 2; }
};
Counter counter;
outer::Point point;
opened::Inside inside;
static int remembers(int a)
{
    static int kept = 9;
    return a + kept;
}
int locals(int given)
{
    using namespace outer::inner;
    using outer::inner::twin;
    namespace q = outer;
    static int st = 6;
    struct Local {
        int l = 5;
        int m()
        {
            return l;
        }
    } local;
    auto closure = [&](int z) {
        return z + given;
    };
    int r = depth + q::value + closure(1) + local.m() + twin;
    return r;
}
extern "C" void _start()
{
    locals(remembers(1));
    counter.get();
    point.sum();
    outer::inner::area(1) + outer::inner::area(1, 2) + outer::inner::area(point) + get() + outer::inner::solo(1);
    opened::of_opened(2) + versioned(1) + counter.over(1) + counter.over('c') + counter.plain(1) + Base::twice(1);
    for (;;)
        ;
}
