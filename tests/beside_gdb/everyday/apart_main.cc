#include "apart.h"
namespace within { static int len() { return shared; } }
Apart one = {5};
const Apart fixed = {6};

extern "C" void _start()
{
    const Apart &seen = fixed;
    one.x += one.len() + one.both() + seen.both() + within::len() + Apart::made;
    asm volatile("hlt");
}
