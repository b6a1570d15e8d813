// My guest: a timer, its interrupts, and a processor that sleeps in between. `make run` boots it.

#include "pc.h"

// An entry of the interrupt descriptor table (Intel SDM volume 3, 6.14.1).
struct gate {
    uint16_t offset_low;   // bits 0 to 15 of the handler's address
    uint16_t selector;     // of the code segment
    uint8_t stack;         // 0: the handler uses the stack that is there
    uint8_t type;          // 0x8e: present, 64-bit interrupt gate
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
} __attribute__((packed));

// The operand of lidt.
struct table_register {
    uint16_t limit;  // the size of the table in bytes, less 1
    uint64_t base;
} __attribute__((packed));

int main(const char *line) {
    uint32_t period = (uint32_t)option(line, "period=");
    uint64_t ticks = option(line, "ticks=");
    uint32_t length = (uint32_t)option(line, "length=");
    uint64_t sleeps = option(line, "sleeps=");

    print("period ");
    print_number(period);
    print(", ticks ");
    print_number(ticks);
    print(", length ");
    print_number(length);
    print(", sleeps ");
    print_number(sleeps);
    print("\n");

    // Step 1: the IDT, the PICs, the local APIC, its timer. Then: checkpoint(1)

    // Step 2: the timer counts; wait for `ticks` interrupts; stop the timer. Then: checkpoint(3)
    //         The handler has checkpoint(2).

    // Step 3: `sleeps` times: start the timer once, checkpoint(4), wait. Then: return 0

    return 1;  // not done yet
}
