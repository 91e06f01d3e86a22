/* Names of C++ that are seldom met: functions in functions, templates, operators, one name in several scopes. */
namespace outer { namespace inner { int w = 4; } int one = 1; struct Sum { int n; }; 
Sum operator-(const Sum &a, const Sum &b) { return {a.n - b.n}; } }
namespace { int hidden() { return 6; } }
wchar_t w = L'z';
decltype(nullptr) nothing = nullptr;
outer::Sum nine = {9};
struct Length {
    int n;
    Length &operator+=(int more) { n += more; return *this; }
    bool operator==(const Length &other) const { return n == other.n; }
    int operator()(int by) { return n * by; }
    operator bool() { return n; }
    int operator-() { return -n; }
};
Length operator+(const Length &a, const Length &b) { return {a.n + b.n}; }
Length three = {3};
template <class T, int N = 3> struct Row { T at[N]; T &first() { return at[0]; } static int rows; };
template <class T, int N> int Row<T, N>::rows = 11;
Row<int> row = {{7, 8, 9}};
Row<char, 5> letters = {{'a', 'b'}};
template <class T> T greater(T a, T b) { return a > b ? a : b; }
template <class... Each> int count(Each... each) { return sizeof...(each); }
int over(int) { return 1; }
int over(char) { return 2; }
int over(int, int) { return 4; }
bool yes = true, no = false;
alignas(32) struct Wide { char c; } wide;
struct alignas(16) Apart { char c; } apart;

void here() {}

int captures()
{
    int local = 3;
    auto lambda = [&local, k = 5](int z) {
        here();
        return local + z + k;
    };
    struct Local { int n; int doubled() { here(); return 2 * n; } } own = {local};
    return lambda(1) + own.doubled();
}

extern "C" void _start()
{
    captures();
    greater(1, 2);
    greater<char>('a', 'b');
    count(1, 'c');
    (void) (three + three);
    three += 1;
    (void) (three == three);
    three(2);
    (void) (bool) three;
    (void) -three;
    (void) (nine - nine);
    over(1);
    over('c');
    over(1, 2);
    hidden();
    row.first();
    letters.first();
    for (;;)
        ;
}
