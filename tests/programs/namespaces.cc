// C++: types in namespaces and in other types, templates, enumerations of both kinds.
struct Base { int tag; };
namespace kern {
enum Colour { RED, GREEN = 4 };
enum class Mode : unsigned char { ON = 1, OFF };
struct Heap : Base {
    struct Block { Heap *owner; unsigned size; Mode mode; };
    Block first;
    Colour col;
    int free;
    int alloc(int n) { return free -= n; }
    union { int whole; char parts[4]; };
};
typedef Heap::Block block_t;
template <typename T> struct Vec { T items[2]; int count; };
class Empty {};
namespace { struct Hidden { int x; } hidden_one = {3}; }
Heap heap = {{9}, {0, 12, Mode::OFF}, GREEN, 3, {5}};
Vec<int> numbers = {{1, 2}, 2};
Vec<Heap *> heaps = {{&heap, 0}, 1};
block_t *bp = &heap.first;
Empty empty;
Mode mode = Mode::ON;
}
extern "C" void kmain()
{
    kern::heap.alloc(kern::hidden_one.x);
    asm volatile("hlt");
    for (;;) ;
}
