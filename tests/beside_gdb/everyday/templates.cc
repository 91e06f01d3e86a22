/* Types and functions that are made of templates. */
namespace ns {
template <class T, int N> struct Arr {
    T d[N];
    T get(int i) { return d[i]; }
};
template <class T> struct Box {
    T value;
    Box<T> *next;
};
template <class T> T twice(T x) { return x + x; }
}

ns::Arr<short, 4> arr = {{1, 2, 3, 4}};
ns::Box<unsigned char> box = {65, 0};
ns::Box<unsigned long> longs;
ns::Box<long long> wider;
ns::Box<ns::Arr<unsigned short, 2> *> boxed;

extern "C" void _start()
{
    longs.value = ns::twice(3) + ns::twice('a') + ns::twice(4ul);
    wider.value = arr.get(2);
    asm volatile("hlt");
}
