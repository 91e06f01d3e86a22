/* A small kernel in C: own page tables, own IDT with handlers, three tasks that take turns. */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define PAGE 4096UL
#define HEAP 0x40000000UL /* pages here come when they are touched first */
#define HEAP_PAGES 16UL

/* What a handler finds on the stack: pushed by interrupts_entry.S, then by the CPU. */
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error_code;
    u64 rip, cs, rflags, rsp, ss;
};

enum task_state { READY, RUNNING = 4, DONE };

struct task {
    char name[8];
    enum task_state state;
    u32 runs : 12, priority : 3;
    u64 total;
    void (*step)(struct task *task);
    struct task *next;
};

/* console.c */
void print(const char *text);
void print_number(u64 value);

/* memory.c */
extern u64 pages_given;
void memory_init(void);
void map_page(u64 linear, u64 physical, u64 flags);
u64 *find_entry(u64 linear);
int demand_page(u64 linear);

/* interrupts.c */
extern u32 traps[32];
void interrupts_init(void);

/* tasks.c */
extern struct task *tasks;
void tasks_init(void);
int run_tasks(void);

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }

#endif
