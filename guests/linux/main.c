/* What a debugger finds in a Linux kernel's memory, small: a ring of messages, processes with threads, and modules. The
   structures have the members of Linux 6.1 that are looked at, by their names; the rest is left out. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

struct list_head {
    struct list_head *next, *prev;
};

/* --- messages: kernel/printk/printk_ringbuffer.h ---------------------------------------------------- */

struct printk_info {
    u64 seq, ts_nsec;
    u16 text_len;
    u8 facility;
    u8 flags : 5, level : 3;
    u32 caller_id;
};

struct prb_desc {
    u64 state_var;                                       /* the state in the two highest bits, then the number */
    struct {
        u64 begin, next;
    } text_blk_lpos;
};

struct printk_ringbuffer {
    struct {
        u32 count_bits;
        struct prb_desc *descs;
        struct printk_info *infos;
        u64 head_id, tail_id;
    } desc_ring;
    struct {
        u32 size_bits;
        char *data;
        u64 head_lpos, tail_lpos;
    } text_data_ring;
};

#define COUNT_BITS 3
#define SIZE_BITS 9
#define FINALIZED (2UL << 62)

static struct prb_desc descs[1 << COUNT_BITS];
static struct printk_info infos[1 << COUNT_BITS];
static char data[1 << SIZE_BITS];
static struct printk_ringbuffer ring = {
    { COUNT_BITS, descs, infos, 0, 1 },
    { SIZE_BITS, data, 0, 0 },
};
struct printk_ringbuffer *prb = &ring;

static void print(u64 nanoseconds, int level, const char *text)
{
    u64 id = ++ring.desc_ring.head_id, index = id % (1 << COUNT_BITS);
    u64 begin = ring.text_data_ring.head_lpos, at = begin % (1 << SIZE_BITS) + sizeof(u64);
    u16 length = 0;

    for (; text[length]; length++)
        data[at + length] = text[length];
    if (id - ring.desc_ring.tail_id >= 1 << COUNT_BITS)
        ring.desc_ring.tail_id++;
    ring.text_data_ring.head_lpos = begin + ((sizeof(u64) + length + 7) & ~7UL);
    infos[index] = (struct printk_info){ id, nanoseconds, length, 0, 0, level, 0 };
    descs[index] = (struct prb_desc){ FINALIZED | id, { begin, ring.text_data_ring.head_lpos } };
}

/* --- processes: include/linux/sched.h --------------------------------------------------------------- */

struct signal_struct {
    struct list_head thread_head;
};

struct task_struct {
    u32 __state;
    struct list_head tasks;
    int pid, tgid;
    struct list_head thread_node;
    char comm[16];
    struct signal_struct *signal;
};

struct task_struct init_task, init, shell, worker;
static struct signal_struct of_init, of_shell;

struct task_struct init_task = {
    .comm = "swapper/0", .tasks = { &init.tasks, &shell.tasks },
};
struct task_struct init = {
    .__state = 1, .pid = 1, .tgid = 1, .comm = "init", .signal = &of_init,
    .tasks = { &shell.tasks, &init_task.tasks }, .thread_node = { &of_init.thread_head, &of_init.thread_head },
};
struct task_struct shell = {
    .pid = 42, .tgid = 42, .comm = "sh", .signal = &of_shell,
    .tasks = { &init_task.tasks, &init.tasks }, .thread_node = { &worker.thread_node, &of_shell.thread_head },
};
struct task_struct worker = {
    .__state = 0x402, .pid = 43, .tgid = 42, .comm = "sh/worker", .signal = &of_shell,
    .thread_node = { &of_shell.thread_head, &shell.thread_node },
};
static struct signal_struct of_init = { { &init.thread_node, &init.thread_node } };
static struct signal_struct of_shell = { { &shell.thread_node, &worker.thread_node } };

/* --- modules: include/linux/module.h ---------------------------------------------------------------- */

struct module_layout {
    void *base;
    u32 size;
};

struct module {
    struct list_head list;
    char name[56];
    struct module_layout core_layout;
    struct list_head source_list, target_list;
    int refcnt;
};

struct module_use {
    struct list_head source_list, target_list;
    struct module *source, *target;
};

struct list_head modules;
struct module virtio, virtio_net;
static struct module_use use;

struct list_head modules = { &virtio_net.list, &virtio.list };
struct module virtio_net = {
    .list = { &virtio.list, &modules }, .name = "virtio_net", .core_layout = { (void *)0xa0010000, 61440 }, .refcnt = 1,
    .source_list = { &virtio_net.source_list, &virtio_net.source_list }, .target_list = { &use.target_list, &use.target_list },
};
struct module virtio = {
    .list = { &modules, &virtio_net.list }, .name = "virtio", .core_layout = { (void *)0xa0000000, 20480 }, .refcnt = 2,
    .source_list = { &use.source_list, &use.source_list }, .target_list = { &virtio.target_list, &virtio.target_list },
};
static struct module_use use = {
    { &virtio.source_list, &virtio.source_list }, { &virtio_net.target_list, &virtio_net.target_list }, &virtio_net, &virtio,
};

void _start(void)
{
    print(0, 5, "Linux version 6.1.0 (not really)");
    print(1500000, 6, "Memory: 128M");
    print(2250000, 4, "It is only as large as it looks");
    for (;;)
        __asm__ volatile("hlt");
}
