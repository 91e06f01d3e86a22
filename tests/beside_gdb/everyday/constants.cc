/* Constants that the compiler keeps in no memory: static members of classes, variables, parts of them. */
struct In { int a, b; };
struct Constants {
    enum Kind { one, two };
    static constexpr double half = 2.5;
    static constexpr float quarter = -1.25f;
    static constexpr long double more = 3.75L;
    static const int n = 42;
    static constexpr bool yes = true;
    static constexpr char letter = 'x';
    static constexpr long less = -7;
    static constexpr In in = {1, 2};
    static constexpr int row[3] = {1, 2, 3};
    static constexpr char name[5] = "abc";
    static constexpr Kind kind = two;
#ifdef __SIZEOF_INT128__
    static constexpr __int128 wide = -5;
#else
    static constexpr long long wide = -5;
#endif
    static inline const double used = 1.5;
    static constexpr wchar_t w = L'w';
    static constexpr void *none = nullptr;
    int plain = 1;
};
Constants all;
const double *kept = &Constants::used;
constexpr double outer = 4.5;
static const float of_file = 5.5f;
constexpr In outer_in = {3, 4};
constexpr int outer_row[2] = {5, 6};

struct Small { int x; short row[2]; };
int sink;
__attribute__((noinline)) int takes(Small small, int index)
{
    sink = index;
    asm volatile("" : : "r"(small.x), "r"(index));
    return small.x;
}
extern "C" void _start()
{
    static constexpr double inner = 7.5;
    takes({1, {2, 3}}, 1);
    for (;;)
        ;
}
