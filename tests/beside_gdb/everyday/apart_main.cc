#include "apart.h"
namespace within { static int len() { return shared; } }
Apart one = {5};
const Apart fixed = {6};
int bump(int by) { return by + 1; }
namespace outside { namespace inside { static int deep(int by) { return by + 2; } } }

extern "C" void _start()
{
    const Apart &seen = fixed;
    one.x += one.len() + one.both() + seen.both() + within::len() + Apart::made + bump(1) + outside::inside::deep(2);
    asm volatile("hlt");
}
