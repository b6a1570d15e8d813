// Goes to ring 3; system calls and two faults bring it back to ring 0.
//
// Ring 3 gets back to ring 0 by exceptions alone, with `int3` as its system call. Other kernels use
// `syscall` or `int n`, but a software KVM that runs ring 3 natively may have neither.

#include "guest.h"
#include "rings.h"

#define VECTOR_BREAKPOINT 3
#define VECTOR_GENERAL_PROTECTION 13
#define VECTOR_PAGE_FAULT 14

#define USER_DATA (0x18 | 3)
#define USER_CODE (0x20 | 3)
#define TSS_SELECTOR 0x28
#define DESCRIPTOR_TSS 0x0000890000000000  // present, 64-bit TSS, available
#define RFLAGS_RESERVED 0x2                // always one; all others off: IOPL 0, no interrupts

extern const char user[];  // user.S
extern uint64_t page_map_level_4[], page_directory_pointers[], page_directories[];  // lib/pvh.S

// What an exception in ring 3 needs: the stack of ring 0 (Intel SDM volume 3, "64-bit mode TSS").
static struct {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t ist[8];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;  // past the end: no port is free to ring 3
} __attribute__((packed)) tss = {.io_map = sizeof tss};
_Static_assert(sizeof tss == 104, "the layout is the CPU's");

static uint8_t kernel_stack[4096] __attribute__((aligned(16)));

static void load_segments(void) {
    static uint64_t gdt[7] = {
        [KERNEL_CODE / 8] = DESCRIPTOR_CODE,
        [KERNEL_DATA / 8] = DESCRIPTOR_DATA,
        [USER_DATA / 8] = DESCRIPTOR_DATA + DESCRIPTOR_RING_3,
        [USER_CODE / 8] = DESCRIPTOR_CODE + DESCRIPTOR_RING_3,
    };
    uint64_t base = (uintptr_t)&tss;
    tss.rsp[0] = (uintptr_t)(kernel_stack + sizeof kernel_stack);
    gdt[TSS_SELECTOR / 8] = DESCRIPTOR_TSS | (sizeof tss - 1) | (base & 0xffffff) << 16 |
                            (base >> 24 & 0xff) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
    struct table_register gdtr = {sizeof gdt - 1, (uintptr_t)gdt};
    asm volatile("lgdt %0; ltr %1" : : "m"(gdtr), "r"((uint16_t)TSS_SELECTOR) : "memory");
}

static void tell(const char *what, const struct interrupt_frame *frame) {
    print("ring %lu -> ring 0: %s", frame->cs & 3, what);
}

// A real kernel would check that the addresses it is given are the program's own.
__attribute__((interrupt)) static void system_call(struct interrupt_frame *frame) {
    const uint64_t *stack = (const uint64_t *)frame->rsp;
    if (stack[0] == SYS_EXIT) {
        tell("exit\n", frame);
        exit((uint8_t)stack[1]);
    }
    tell("print: ", frame);
    print("%s\n", (const char *)stack[1]);
}

// The program goes on where the top of its stack says, past the instruction that is at fault.
static void forgive(struct interrupt_frame *frame) {
    frame->rip = *(const uint64_t *)frame->rsp;
    frame->rsp += 8;
}

__attribute__((interrupt)) static void page_fault(struct interrupt_frame *frame, uint64_t error) {
    tell("page fault", frame);
    print(" at %lx, error %lx\n", READ_REGISTER("cr2"), error);
    forgive(frame);
}

__attribute__((interrupt)) static void general_protection(struct interrupt_frame *frame,
                                                          uint64_t error) {
    tell("general protection fault", frame);
    print(", error %lx\n", error);
    forgive(frame);
}

int main(const struct hvm_start_info *info) {
    (void)info;
    load_segments();
    set_interrupt_handler(VECTOR_BREAKPOINT, system_call, 3);
    set_interrupt_handler(VECTOR_GENERAL_PROTECTION, general_protection, 0);
    set_interrupt_handler(VECTOR_PAGE_FAULT, page_fault, 0);

    page_map_level_4[0] |= PAGE_USER;
    page_directory_pointers[0] |= PAGE_USER;
    page_directories[(uintptr_t)user / LARGE_PAGE_SIZE] |= PAGE_USER;

    print("ring 0 -> ring 3\n");
    asm volatile(
        "mov %0, %%cr3\n\t"  // no old translation is left in the TLB
        "push %1\n\tpush %2\n\tpush %3\n\tpush %4\n\tpush %5\n\t"
        "iretq"
        :
        : "r"(page_map_level_4), "i"(USER_DATA), "r"(user + USER_SIZE), "i"(RFLAGS_RESERVED),
          "i"(USER_CODE), "r"(user)
        : "memory");
    __builtin_unreachable();
}
