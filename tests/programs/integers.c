/* C's integer rules: unsigned variables wrap, mixed comparisons are unsigned; long has 4 bytes in 32-bit code. */
unsigned now = 5, start = 0xfffffff0u, flags = 0x80000000u;
unsigned arr[3] = { 1, 2, 3 };
int neg = -1, matrix[3][4];
long lng = -9;
signed char sc = -5;
unsigned long long t = 3, u = 5;
volatile float f = 2.5f;
int (*fn)(int);
void *vp = arr;
unsigned char key[4] = { 'k', 0, 200, '!' };
unsigned bad_float = 0x7fc00000;
struct bits { unsigned before : 2, runs : 4; int after : 5; } bits = { 1, 0, -3 }, other = { 2, 9, 4 };
int twice(int x) { static int calls = 3; return x * 2 + calls; }
int values[2][2] = { { 1, 2 }, { 3, 4 } };
void kmain(void)
{
    now++;
    __asm__ volatile("hlt");
    for (;;) ;
}
