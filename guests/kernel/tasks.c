#include "kernel.h"

static u64 divide(u64 value, u64 by)
{
    __asm__("div %%rcx" : "+a"(value) : "c"(by), "d"(0L));
    return value;
}

/* Writes to one page of the heap after the other. */
static void fill(struct task *task)
{
    u64 *page = (u64 *) (HEAP + task->runs % HEAP_PAGES * PAGE);
    *page = task->runs;
    task->total += *page;
}

/* Divides by less and less, down to 0. */
static void shrink(struct task *task)
{
    u64 left = 5 - task->runs;
    task->total += divide(1000, left);
}

static void count(struct task *task)
{
    for (u32 number = 0; number <= task->priority; number++)
        task->total += number;
}

static struct task all[] = {
    {"fill", READY, 0, 1, 0, fill, &all[1]},
    {"shrink", READY, 0, 2, 0, shrink, &all[2]},
    {"count", READY, 0, 3, 0, count, &all[0]},
};
struct task *tasks;

void tasks_init(void)
{
    tasks = all;
}

/* One turn of the task whose turn it is; how many tasks are not done yet. */
int run_tasks(void)
{
    struct task *task = tasks;
    int left = 0;

    if (task->state != DONE) {
        task->state = RUNNING;
        task->runs++;
        task->step(task);
        task->state = task->runs < 6 ? READY : DONE;
    }
    tasks = task->next;
    for (int i = 0; i < 3; i++)
        left += all[i].state != DONE;
    return left;
}
