/* Values that are seldom met: arrays as long as the program says, structures to be assigned whole. */
struct pair { int a, b; } pair = { 1, 2 }, pairs[3] = { { 1, 2 }, { 3, 4 } };
struct bits { unsigned low : 3; int high : 5; struct pair in; } bits = { 1, -2, { 3, 4 } };
union any { int i; char c[4]; } any = { 5 };
struct deep { struct { struct { int z[2]; } in[2]; } at[2][2]; } deep = { { { { { { { 1, 2 } } } } } } };
char text[8] = "text";
int numbers[4] = { 1, 2, 3, 4 }, sum;

static void shows(void) { sum++; }

static int lengths(int n, int (*rows)[n])
{
    int line[n], square[n][n + 1];
    char names[n][2];
    for (int i = 0; i < n; i++) {
        line[i] = rows[0][i] * 10;
        names[i][0] = 'a' + i;
        names[i][1] = 0;
        for (int j = 0; j <= n; j++)
            square[i][j] = i * j;
    }
    shows();
    return line[0] + square[1][1] + names[0][0];
}

void _start(void)
{
    sum += lengths(2, (int (*)[2]) numbers);
    sum += lengths(3, (int (*)[3]) numbers);
    for (;;)
        ;
}
