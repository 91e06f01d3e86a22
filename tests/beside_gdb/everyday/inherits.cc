/* Bases that lie further inside, virtual ones, bases that are there twice, members that are in two of them. */
struct Top { int a = 1; virtual int area() { return a; } };
struct Left : virtual Top { int l = 2; };
struct Right : virtual Top { int r = 3; int area() override { return r; } };
struct Diamond : Left, Right { int d = 4; };
struct One { int x = 10; int only_one = 11; };
struct Two { int x = 20; int only_two = 21; };
struct Both : One, private Two { int z = 30; };
struct First : One { int f = 5; };
struct Second : One { int s = 6; };
struct Twice : First, Second { int t = 7; };
struct Hiding : virtual One { int x = 40; };
struct Plain : virtual One { int p = 8; };
struct Hidden : Plain, Hiding { int h = 9; };
struct Apart { int q = 12; };
Both both;
Twice twice;
Apart apart;

extern "C" void here() {}
char stack[4096];
extern "C" void go()
{
    Diamond diamond;
    Hidden hidden;
    Top *to_top = &diamond, &top = diamond;
    Left *to_left = &diamond;
    Two *to_two = (Two *) &both, *null = nullptr;
    here();
    for (;;)
        ;
}
#ifdef __x86_64__
extern "C" __attribute__((naked)) void _start() { asm("lea stack+4088, %rsp; jmp go"); }
#else
extern "C" __attribute__((naked)) void _start() { asm("lea stack+4092, %esp; jmp go"); }
#endif
