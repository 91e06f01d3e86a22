/* The C side of the benches: the same guests in the plainest loop around KVM_RUN.
 *
 *   loops exits N           exits a second of `again: out 0x10, ax; inc ax; jmp again`
 *   loops steps N           single steps a second of the same guest
 *   loops hits N BYTE       hits a second of a breakpoint in a loop, each stepped past: BYTE is the trap to
 *                           plant (hexadecimal), 0 for debug register 0
 *   loops restores PAGES N  times a second that 2 MiB of which the guest has written PAGES pages, and its vCPU, are
 *                           put back
 *
 * Prints one number.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static int cpu, vm;
static uint8_t *mem;
static struct kvm_run *run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void boot(const uint8_t *code, size_t size) {
    int kvm = open("/dev/kvm", O_RDWR);
    if (kvm < 0) die("/dev/kvm");
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_enable_cap cap = {.cap = 204 /* KVM_CAP_EXIT_ON_EMULATION_FAILURE */, .args = {1}};
    ioctl(vm, KVM_ENABLE_CAP, &cap);
    mem = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {0, 0, 0, 1 << 20, (uint64_t)mem};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die("memory");
    memcpy(mem + 0x1000, code, size);
    cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (cpu < 0) die("vcpu");
    run = mmap(0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    struct kvm_sregs sregs;
    ioctl(cpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    ioctl(cpu, KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2, .rsp = 0x8000};
    ioctl(cpu, KVM_SET_REGS, &regs);
    run->kvm_valid_regs = KVM_SYNC_X86_REGS;
}

static void debug(uint32_t control, uint64_t address) {
    struct kvm_guest_debug d = {.control = control};
    d.arch.debugreg[0] = address;
    d.arch.debugreg[7] = address ? 0x402 : 0x400;
    if (ioctl(cpu, KVM_SET_GUEST_DEBUG, &d) < 0) die("guest debug");
}

static void enter(void) {
    if (ioctl(cpu, KVM_RUN, 0) < 0) die("KVM_RUN");
}

/* again: mov es:[di], al; mov ax, es; add ax, 0x100; mov es, ax; loop again; hlt, from the image of the Python side */
static double restores(int pages, long n) {
    enum { SIZE = 2 << 20, PAGE = 4096 };
    uint8_t code[] = {0xb9, pages & 255, pages >> 8, 0xb8, 0x00, 0x20, 0x8e, 0xc0, 0x31, 0xff, 0x26, 0x88,
                      0x05, 0x8c, 0xc0, 0x05, 0x00, 0x01, 0x8e, 0xc0, 0xe2, 0xf4, 0xf4};
    boot(code, sizeof code);
    uint8_t *all = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(all, mem, 1 << 20);
    struct kvm_userspace_memory_region none = {0, 0, 0, 0, (uint64_t)mem};
    struct kvm_userspace_memory_region region = {0, KVM_MEM_LOG_DIRTY_PAGES, 0, SIZE, (uint64_t)all};
    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &none);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die("memory");
    uint8_t *copy = malloc(SIZE);
    memcpy(copy, all, SIZE);
    uint64_t bits[SIZE / PAGE / 64];
    struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = bits};
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_mp_state state;
    ioctl(cpu, KVM_GET_REGS, &regs);
    ioctl(cpu, KVM_GET_SREGS, &sregs);
    ioctl(cpu, KVM_GET_XSAVE, &xsave);
    ioctl(cpu, KVM_GET_DEBUGREGS, &debugregs);
    ioctl(cpu, KVM_GET_VCPU_EVENTS, &events);
    ioctl(cpu, KVM_GET_MP_STATE, &state);
    double spent = 0;
    for (long i = 0; i < n; i++) {
        enter();
        if (run->exit_reason != KVM_EXIT_HLT) exit(3);
        double begin = now();
        ioctl(vm, KVM_GET_DIRTY_LOG, &log);
        int written = 0;
        for (int page = 0; page < SIZE / PAGE; page++)
            if (bits[page / 64] >> page % 64 & 1) {
                memcpy(all + page * PAGE, copy + page * PAGE, PAGE);
                written++;
            }
        if (written < pages) exit(4);
        ioctl(cpu, KVM_SET_SREGS, &sregs);
        ioctl(cpu, KVM_SET_REGS, &regs);
        ioctl(cpu, KVM_SET_XSAVE, &xsave);
        ioctl(cpu, KVM_SET_DEBUGREGS, &debugregs);
        ioctl(cpu, KVM_SET_VCPU_EVENTS, &events);
        ioctl(cpu, KVM_SET_MP_STATE, &state);
        spent += now() - begin;
    }
    return n / spent;
}

int main(int argc, char **argv) {
    static const uint8_t counter[] = {0x31, 0xc0, 0xe7, 0x10, 0x40, 0xeb, 0xfb};
    static const uint8_t loop[] = {0x41, 0x90, 0xeb, 0xfc}; /* again: inc cx; nop; jmp again */
    if (argc < 3) return 2;
    long n = atol(argv[2]);
    double begin;
    if (!strcmp(argv[1], "exits")) {
        boot(counter, sizeof counter);
        begin = now();
        for (long i = 0; i < n; i++) {
            enter();
            if (run->exit_reason != KVM_EXIT_IO) return 3;
        }
    } else if (!strcmp(argv[1], "steps")) {
        boot(counter, sizeof counter);
        debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0);
        begin = now();
        for (long i = 0; i < n; i++) {
            enter();
            if (run->exit_reason == KVM_EXIT_IO) { /* end the out, and with it the step */
                run->immediate_exit = 1;
                ioctl(cpu, KVM_RUN, 0);
                run->immediate_exit = 0;
            }
        }
    } else if (!strcmp(argv[1], "hits") && argc == 4) {
        uint8_t trap = strtoul(argv[3], 0, 16), under = 0x90;
        uint32_t control = trap == 0xcc ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP
                                        : trap ? 0 : KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        boot(loop, sizeof loop);
        if (trap) mem[0x1001] = trap;
        debug(control, trap ? 0 : 0x1001);
        begin = now();
        for (long i = 0; i < n; i++) {
            enter();
            if (trap == 0xf4) {
                run->s.regs.regs.rip--;
                run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
                ioctl(cpu, KVM_SET_REGS, &run->s.regs.regs);
                run->kvm_dirty_regs = 0;
            }
            if (run->s.regs.regs.rip != 0x1001) return 3;
            if (trap) mem[0x1001] = under;
            debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0);
            do enter(); while (run->s.regs.regs.rip == 0x1001);
            if (trap) mem[0x1001] = trap;
            debug(control, trap ? 0 : 0x1001);
        }
    } else if (!strcmp(argv[1], "restores") && argc == 4) {
        printf("%.1f\n", restores(n, atol(argv[3])));
        return 0;
    } else {
        return 2;
    }
    printf("%.1f\n", n / (now() - begin));
    return 0;
}
