/* Variables of all types of C with values that tell one type from another. */
typedef unsigned int word;
typedef struct point { int x, y; } point_t;
enum colour { RED, GREEN = 3, BLUE = -1 };
enum flags { READ = 1, WRITE = 2, RUN = 4 };
struct inner { char c; short s; union { int i; float f; } u; };
struct big {
    int a; struct inner in; point_t p[2]; char name[8]; const char *text; int *ip; double d; _Bool b;
    enum colour col; unsigned bits3 : 3; int bits5 : 5; enum flags mode : 4; unsigned long long wide : 40;
    int (*call)(int); unsigned char bytes[4]; unsigned long long ull; struct big *self;
    struct { short deep[2]; }; union { unsigned raw; unsigned char part[4]; };
};
union any { int i; float f; unsigned char c[4]; short s[2]; };

int twice(int x) { return 2 * x; }
void nothing(void) {}
static long long sum3(char a, short b, long long c) { return a + b + c; }

_Bool yes = 1, no = 0;
char chr = 'z'; signed char sch = -5; unsigned char uch = 200;
short sh = -2; unsigned short ush = 65535;
int num = -7; unsigned now = 5, start = 0xfffffff0u, high = 0x80000000u; int least = -2147483647 - 1;
long lng = -9; unsigned long ulng = 77; long long ll = 1ll << 40; unsigned long long ull = ~0ull;
float f1 = 2.5f, f2 = -0.1f; double d1 = 0.1, d2 = -1e300; long double ld1 = 1.1L, ld2 = -3.0e4000L;
float fnan = __builtin_nanf(""); double dinf = 1.0 / 0.0;
enum colour col = GREEN, odd = 7; enum flags fl = READ | RUN, more = 9;
word wd = 42; volatile int vol = 3; const int fixed = 4; const volatile short both = 5;
point_t pt = { 7, 8 }; union any any = { 0x3f800000 };
int table[5] = { 10, -20, 30, 40, 50 }; int matrix[3][4] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } };
unsigned char bytes[6] = { 0, 1, 2, 200, 0, 0 }; char buf[32] = "hello"; char full[3] = "abc"; short shorts[4] = { -1, 2 };
int zeros[300], mixed[30] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3 };
float floats[3] = { 1.5f, 2.25f, -0.f }; double doubles[2] = { 1e300, 0.1 }; _Bool bools[3] = { 1, 0, 1 };
enum colour cols[3] = { RED, GREEN, BLUE }; point_t pts[12] = { { 1, 2 }, { 1, 2 }, { 3, 4 } };
char texts[2][4] = { "ab", "cde" }; char many[300] = "\001\002\377x"; char longer[260] = "aaaaaaaaaaaaaaaaaaaaaaaaabc\"\\\n";
const char *str = "a \"string\"\t\001\377"; const char *const cp = "x"; char *null;
int *ip = &matrix[0][1]; void *vp = &pt; int (*rows)[4] = matrix; int *pointers[2] = { table, &num }; int **pp = pointers;
struct big g = { 1, { 'a', -2, { 3 } }, { { 1, 2 }, { 3, 4 } }, "hi\n\"x", "text", table, 1.5, 1, GREEN, 5, -3, READ | WRITE,
    0xabcdef0123ull, twice, { 1, 2, 3, 4 }, 1ull << 40, &g, { { 5, 6 } }, { 0x01020304 } };
struct big *bp = &g; point_t *ptp = &pt; int (*fp)(int) = twice; void (*calls[2])(void) = { nothing, 0 };
struct { int q; char r[2]; } nameless = { 4, "xy" };

struct node {
    struct node *next; union { struct { int low : 3, : 5, high : 4; }; long whole; }; enum { NONE, SOME } e; _Bool bit : 1;
    struct { struct { char in[3]; } more; union { float f; unsigned raw; }; } sub;
} node = { &node, { { 1, -3 } }, SOME, 1, { { "no" }, { 1.5f } } };
float _Complex waves[2] = { 1.0f + 2.0fi, -0.5f }; typedef int vector __attribute__((vector_size(16)));
vector lanes = { 1, -2, 3, 4 }; typedef char chars16 __attribute__((vector_size(16))); chars16 sixteen = { 104, -1 }; struct hidden; struct hidden *secret; typedef struct hidden hidden_t; hidden_t **secrets;
int (*(*maker)(void))(int); void (*signals[2])(int, void (*)(int)); int cube[2][3][4] = { { { 1, 2 }, { 3 } }, { { 4 } } };
typedef const char *name_t; name_t names[2] = { "one", "two" }; typedef enum colour colour_t; colour_t tint = BLUE;
typedef float real_t; real_t real = 1.25f; signed char tiny[3] = { -1, 0, 'x' }; long double lds[2] = { 1.0L, -2.5L };
struct packed { char c; int i; long long l; } __attribute__((packed)) packed = { 'p', -1, 1ll << 33 };
unsigned char grid[40][5] = { "abcd", "abcd" }; struct point_t_like { point_t at[2]; double w; } shapes[3] = { { { { 1, 2 } }, 0.5 } };

typedef __WCHAR_TYPE__ wchar_t; typedef __CHAR16_TYPE__ char16_t; typedef __CHAR32_TYPE__ char32_t;
wchar_t wide = L'k', wname[] = L"wide \t\n", *wp = wname, wrep[30]; char16_t c16 = u'x', s16[8] = u"six", *p16 = s16;
char32_t c32 = U'~', s32[5] = U"ab~"; struct { wchar_t w[4]; char16_t h; } mixture = { L"xyz", u'\'' };
unsigned char u8 = 9; typedef unsigned short u16; u16 half = 65;
#ifdef __SIZEOF_INT128__
__int128 huge = ((__int128) 0x0123456789abcdefll << 64) | 0xfedcba9876543210ull, minus = -5; unsigned __int128 most = -1;
_Float128 quad = 0.1f128, quads[2] = { 1.0f128, -3.0e4000f128 };
#endif

void kmain(void)
{
    static int count = 5;
    count += twice(num) + fp(2) + (int) sum3(1, 2, 3);
    nothing();
    vol = count + calls[0] != 0;
    for (;;) ;
}
void _start(void) { kmain(); }
