/* Classes, variables and constants of one name in several namespaces, seen from inside of them. */
struct Base { int b = 1; virtual int f() { return b; } };
namespace one { struct D : Base { int x = 5; }; int count = 10; enum Level { low = 1 }; }
namespace two {
    struct D : Base { long y = 6; int z = 7; int in(); static int total; };
    typedef short Word;
    int count = 20;
    namespace deep { int own = 30; int where() { return own; } }
}
struct D : Base { int g = 8; };
typedef long Word;
one::D first;
two::D second;
D third;
Base *b1 = &first, *b2 = &second, *b3 = &third;
int two::D::total = 40;
int count = 50, own = 60, total = 70;
Word word = 3;
two::Word short_word = 4;
int D = 3;

int two::D::in() { return z; }

extern "C" void _start()
{
    second.in();
    two::deep::where();
    for (;;)
        ;
}
