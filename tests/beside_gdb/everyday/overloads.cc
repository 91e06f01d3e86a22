/* Functions of one name, and characters of all kinds. */
namespace ns {
struct Over {
    int v;
    int over(int a) { return v + a; }
    int over(char c) { return v + c; }
    long over(long a) const { return v + a; }
    int over(const char *text, unsigned count) { return text[count] + v; }
    static int fixed(int a) { return 2 * a; }
};
int twice(int a) { return 2 * a; }
char twice(char a) { return 3 * a; }
}

char8_t eight = u8'e';
char8_t text8[] = u8"abc";
const char8_t *pointed8 = u8"pointed";
char16_t text16[] = u"hi";
char32_t text32[] = U"yo";
wchar_t wide[] = L"wide";
ns::Over one = {7};

int single(int a) { return a + 1; }

extern "C" void _start()
{
    one.v += one.over(1) + one.over('a') + (int) one.over(2L) + one.over("xyz", 1) + ns::Over::fixed(4);
    one.v += ns::twice(3) + ns::twice('b') + single(9);
    asm volatile("hlt");
}
