// The reference guest: a timer, its interrupts, and a processor that sleeps in between.

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

static struct gate idt[256];
static volatile uint64_t interrupts;

__attribute__((interrupt)) static void on_timer(struct interrupt_frame *frame) {
    (void)frame;
    interrupts++;
    checkpoint(2);
    lapic_write(LAPIC_EOI, 0);
}

__attribute__((interrupt)) static void on_spurious(struct interrupt_frame *frame) {
    (void)frame;
}

static void set_gate(uint8_t vector, void *handler) {
    uintptr_t address = (uintptr_t)handler;
    idt[vector].offset_low = (uint16_t)address;
    idt[vector].selector = CODE_SELECTOR;
    idt[vector].type = 0x8e;
    idt[vector].offset_middle = (uint16_t)(address >> 16);
    idt[vector].offset_high = (uint32_t)(address >> 32);
}

static void prepare(void) {
    set_gate(TIMER_VECTOR, on_timer);
    set_gate(SPURIOUS_VECTOR, on_spurious);
    struct table_register idtr = {sizeof idt - 1, (uintptr_t)idt};
    asm volatile("lidt %0" : : "m"(idtr) : "memory");
    outb(PIC1_MASK, 0xff);
    outb(PIC2_MASK, 0xff);
    lapic_write(LAPIC_SPURIOUS, LAPIC_ENABLE | SPURIOUS_VECTOR);
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_TIMER, TIMER_PERIODIC | TIMER_VECTOR);
}

// Interrupts are on during the halt alone.
static void wait_for(uint64_t count) {
    while (interrupts < count)
        asm volatile("sti; hlt; cli" : : : "memory");
}

int main(const char *line) {
    uint32_t period = (uint32_t)option(line, "period=");
    uint64_t ticks = option(line, "ticks=");
    uint32_t length = (uint32_t)option(line, "length=");
    uint64_t sleeps = option(line, "sleeps=");

    prepare();
    checkpoint(1);

    lapic_write(LAPIC_TIMER_COUNT, period);
    wait_for(ticks);
    lapic_write(LAPIC_TIMER_COUNT, 0);
    checkpoint(3);

    lapic_write(LAPIC_TIMER, TIMER_VECTOR);
    for (uint64_t sleep = 0; sleep < sleeps; sleep++) {
        interrupts = 0;
        lapic_write(LAPIC_TIMER_COUNT, length);
        checkpoint(4);
        wait_for(1);
    }
    return 0;
}
