/* Pointers that typedefs name, flexible arrays, long runs in texts, structures in arrays. */
typedef int *Place;
typedef char *Text;
typedef Place Again;
typedef int (*Function)(int);
struct point { int x, y; };
struct nothing {};
struct flexible { int n; char data[]; };
static int numbers[4] = {1, 2, 3, 4};
Place place = numbers + 1;
Again again = numbers;
Text text = "letters";
static int twice(int a) { return 2 * a; }
Function function = twice;
struct point points[3] = {{1, 2}, {3, 4}}, *each[2] = {points, points + 2};
const struct point fixed = {5, 6};
struct nothing nothing, none[2];
struct flexible flexible = {3, {'a', 'b', 0}};
char run[300] = {[0 ... 249] = 'a', [250] = 'b'};
char runs[300] = {[0 ... 99] = 'a', 'x', [101 ... 199] = 'b', [200 ... 298] = 'c'};
char ends[300] = {[0 ... 198] = 'a', [199 ... 298] = 'b'};

void _start(void)
{
    numbers[0] = function(*place);
    __asm__("hlt");
}
