#include "kernel.h"

static void report(void)
{
    struct task *task = tasks;

    do {
        print(task->name);
        print(" ");
        print_number(task->total);
        print("\n");
        task = task->next;
    } while (task != tasks);
}

void kernel_main(void)
{
    print("kernel\n");
    memory_init();
    interrupts_init();
    tasks_init();
    while (run_tasks())
        ;
    report();
    *(volatile u64 *) 0x80000000 = 1; /* nothing is mapped there: the handler stops the kernel */
}
