// Goes to ring 3; system calls and two faults bring it back to ring 0.
//
// Ring 3 gets back to ring 0 by exceptions alone, with `int3` as its system call. Other kernels use
// `syscall` or `int n`, but a software KVM that runs ring 3 natively may have neither.

#include "guest.h"
#include "rings.h"

#define VECTOR_BREAKPOINT 3
#define VECTOR_GENERAL_PROTECTION 13
#define VECTOR_PAGE_FAULT 14

extern const char user[];  // user.S

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
    print(" at 0x%lx, error 0x%lx\n", READ_REGISTER("cr2"), error);
    forgive(frame);
}

__attribute__((interrupt)) static void general_protection(struct interrupt_frame *frame,
                                                          uint64_t error) {
    tell("general protection fault", frame);
    print(", error 0x%lx\n", error);
    forgive(frame);
}

int main(const struct hvm_start_info *info) {
    (void)info;
    set_interrupt_handler(VECTOR_BREAKPOINT, system_call, 3);
    set_interrupt_handler(VECTOR_GENERAL_PROTECTION, general_protection, 0);
    set_interrupt_handler(VECTOR_PAGE_FAULT, page_fault, 0);

    print("ring 0 -> ring 3\n");
    ring_3_allow((uintptr_t)user, LARGE_PAGE_SIZE);
    ring_3_enter((uintptr_t)user, (uintptr_t)user + USER_SIZE);
}
