// Members of bases that those of derived classes hide, and a chain of structures.
struct Link { int value; Link *next; };
Link chain[3] = {{1, chain + 1}, {2, chain + 2}, {3, nullptr}};

struct Base { int z; int w; };
struct Middle : Base { int z; int plain; int get(); };
namespace inner { struct Last : Middle { int z; int get(); }; }

extern "C" void here() { asm volatile("nop"); }

int Middle::get() { here(); return z + this->Base::z + w; }

int inner::Last::get() { here(); return z + Middle::z + Base::z; }

extern "C" void _start() {
  inner::Last last;
  last.z = 1, last.Middle::z = 2, last.Base::z = 3, last.w = 4, last.plain = 5;
  last.get();
  last.Middle::get();
  for (;;);
}
