// Counts five interrupts of the local APIC timer, halted in between.

#include "guest.h"

#define TIMER_VECTOR 0x20
#define TICKS 5
#define PERIOD 10000000  // bus cycles: 10 ms where the bus runs at 1 GHz, as KVM's does

static volatile uint64_t ticks;

__attribute__((interrupt)) static void tick(struct interrupt_frame *frame) {
    (void)frame;
    ticks++;
    lapic_write(LAPIC_EOI, 0);
}

int main(const struct hvm_start_info *info) {
    (void)info;
    apic_init();
    set_interrupt_handler(TIMER_VECTOR, tick, 0);
    lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | TIMER_VECTOR);
    lapic_write(LAPIC_TIMER_INITIAL, PERIOD);  // this starts it
    while (ticks < TICKS) {
        wait_for_interrupt();
        print("tick %lu\n", ticks);
    }
    return 0;
}
