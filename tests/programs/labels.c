/* Labels in a function and in its inner blocks, and variables of these. */
int add(int a)
{
    int c = a;
    {
        static int kept = 1;
        int inner = c;
again:
        c++;
        kept += inner;
        if (c < 5)
            goto again;
        {
            int deep = c;
here:
            if (++deep < 9)
                goto here;
            c += deep;
        }
    }
done:
    return c;
}
void kmain(void)
{
    add(3);
    __asm__ volatile("hlt");
    for (;;) ;
}
