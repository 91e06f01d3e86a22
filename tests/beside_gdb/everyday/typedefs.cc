/* Classes that give names to types, and structures that have a name by a typedef alone. */
template <class T> struct List {
    typedef T *iterator;
    using size_type = unsigned long;
    char at[2];
    size_type size() const { return 2; }
    iterator begin() { return nullptr; }
};
struct A { typedef int number; number n; enum E { x, y } e; struct In { long q; } in; };
class B : public A {
    typedef long hidden;
    hidden h;
public:
    typedef A parent;
    parent *p;
    using fn = int (*)(int);
    fn f;
protected:
    typedef char row[3];
    row r;
    hidden m();
public:
    static number count;
};
B::hidden B::m() { return 1; }
B::number B::count = 3;
struct C { typedef struct { int k; } Nameless; Nameless one; using Ref = A &; Ref ref; };
struct Only { typedef int T; };
union U { typedef float real; real r; int i; };
struct Nest { struct In { typedef short s16; s16 v; } in; typedef In Inner; Inner again; };
struct Meth { typedef int Int; Int take(Int a) { return a; } };
namespace ns { struct D { typedef A::number num; num v; typedef D self; self *next; }; typedef struct { int z; } Own; Own own; }
List<int> list;
A a;
B b;
C c = {{1}, a};
Only only;
Only::T only_t = 3;
U u;
Nest nest;
Meth meth;
ns::D d;

extern "C" void _start()
{
    list.begin();
    list.size();
    meth.take(2);
    for (;;)
        ;
}
