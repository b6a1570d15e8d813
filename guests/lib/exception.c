// Tells of an exception that has no handler, and ends the run.

#include "guest.h"
#include "stacks.h"

#define VECTOR_INVALID_TSS 10
#define VECTOR_GENERAL_PROTECTION 13
#define VECTOR_PAGE_FAULT 14

#define PAGE_FAULT_PRESENT 0x01
#define PAGE_FAULT_WRITE 0x02
#define PAGE_FAULT_FETCH 0x10
#define SELECTOR_IDT 0x02  // the error code names a vector, not a segment

// Intel SDM volume 3, "Exception and Interrupt Reference".
static const char *const names[EXCEPTIONS] = {
    "#DE, divide error",        "#DB, debug exception",
    "NMI",                      "#BP, breakpoint",
    "#OF, overflow",            "#BR, bound range exceeded",
    "#UD, invalid opcode",      "#NM, device not available",
    "#DF, double fault",        0,
    "#TS, invalid TSS",         "#NP, segment not present",
    "#SS, stack-segment fault", "#GP, general protection fault",
    "#PF, page fault",          0,
    "#MF, x87 error",           "#AC, alignment check",
    "#MC, machine check",       "#XM, SIMD error",
};

// None in a guest whose loader has made the stack.
#pragma weak stack_guard
#pragma weak stack_bottom
#pragma weak stack_top

// What exception_gates.S and the CPU have left on the stack.
struct exception {
    uint64_t vector, error;
    struct interrupt_frame frame;
};

static void tell_page_fault(uint64_t error, uint64_t address, uint64_t rip) {
    const char *access = error & PAGE_FAULT_WRITE ? "write to" : "read of";
    if (error & PAGE_FAULT_FETCH || address == rip)
        access = "jump to";
    print("  %s 0x%lx, which is %s\n", access, address,
          error & PAGE_FAULT_PRESENT ? "protected" : "not mapped");
    if (address < PAGE_SIZE)
        print("  a null pointer\n");
}

static void tell_selector(uint64_t error) {
    if (error & SELECTOR_IDT)
        print("  vector 0x%lx has no handler\n", error >> 3);
    else
        print("  selector 0x%lx\n", error);
}

// A double fault is an exception for which the CPU could not call the handler.
static void tell_double_fault(uint64_t address) {
    if (address - (uintptr_t)stack_guard < PAGE_SIZE) {
        print("  the stack is full: it has %lu bytes, from 0x%lx to 0x%lx\n",
              (uint64_t)(stack_top - stack_bottom), (uintptr_t)stack_bottom, (uintptr_t)stack_top);
        print("  a function that calls itself for ever, or a large local variable?\n");
    } else {
        print("  an exception came before, and its handler can't be called: look at rsp and cr2\n");
    }
}

_Noreturn void unhandled_exception(const struct exception *exception);
_Noreturn void unhandled_exception(const struct exception *exception) {
    static int before;
    uint64_t vector = exception->vector, error = exception->error;
    uint64_t rip = exception->frame.rip, cr2 = READ_REGISTER("cr2");
    if (before++)  // to tell of an exception was an exception itself
        exit(EXCEPTION_STATUS);
    print("\nException %lu (%s), error code 0x%lx, and no handler for it\n", vector,
          names[vector] ? names[vector] : "reserved", error);
    print("  rip 0x%016lx  cr2 0x%016lx  rsp 0x%016lx  ring %lu\n", rip, cr2, exception->frame.rsp,
          exception->frame.cs & 3);
    if (vector == DOUBLE_FAULT)
        tell_double_fault(cr2);
    else if (vector == VECTOR_PAGE_FAULT)
        tell_page_fault(error, cr2, rip);
    else if (vector >= VECTOR_INVALID_TSS && vector <= VECTOR_GENERAL_PROTECTION && error)
        tell_selector(error);
    int jumped = vector == VECTOR_PAGE_FAULT && cr2 == rip;
    if (!jumped && *(const uint64_t *)rip == 0) {
        print("  all zeros at rip: this is no code\n");
        jumped = 1;
    }
    if (jumped)
        print("  top of the stack: 0x%lx, where a call came from\n",
              *(const uint64_t *)exception->frame.rsp);
    exit(EXCEPTION_STATUS);
}
