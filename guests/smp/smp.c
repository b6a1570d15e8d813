// Starts the other CPUs that the ACPI tables name; each says so and halts.

#include "acpi.h"
#include "guest.h"
#include "trampoline.h"

#define STACK_SIZE 4096

#define LAPIC_ID 0x020
#define LAPIC_COMMAND 0x300       // the interrupt command register; a write sends
#define LAPIC_DESTINATION 0x310
#define COMMAND_INIT 0x4500       // as a level that is asserted
#define COMMAND_START_UP 0x4600   // with the page to start at

uint8_t *processor_stack;  // the top of the next one's, for trampoline.S

static uint8_t stack[STACK_SIZE] __attribute__((aligned(16)));
static volatile uint64_t started = 1;

static uint32_t own_id(void) {
    return *(volatile uint32_t *)(uintptr_t)(LAPIC + LAPIC_ID) >> 24;
}

// In 64-bit mode at last. One at a time, so there is no lock around the serial port.
void processor_main(void) {
    print("CPU %lu is up\n", (uint64_t)own_id());
    started++;
    halt();
}

static void send(uint8_t id, uint32_t command) {
    lapic_write(LAPIC_DESTINATION, (uint32_t)id << 24);
    lapic_write(LAPIC_COMMAND, command);
}

// INIT, then SIPI (Intel SDM volume 3, "MP initialization"). A real one wants 10 ms in between.
static void start_processor(uint8_t id) {
    uint64_t before = started;
    processor_stack = stack + sizeof(stack);
    send(id, COMMAND_INIT);
    send(id, COMMAND_START_UP | TRAMPOLINE / PAGE_SIZE);
    while (started == before)
        asm volatile("pause");
}

int main(const struct hvm_start_info *info) {
    const struct acpi_madt *madt = find_madt(info->rsdp_paddr);
    if (!madt) {
        print("no ACPI tables\n");
        return 1;
    }
    apic_init();
    install_trampoline();
    print("CPU %lu boots\n", (uint64_t)own_id());
    for (const uint8_t *at = madt->entries, *end = (const uint8_t *)madt + madt->header.length;
         at < end; at += at[1]) {
        const struct acpi_local_apic *cpu = (const void *)at;
        if (cpu->type == ACPI_LOCAL_APIC && cpu->flags & ACPI_ENABLED && cpu->id != own_id())
            start_processor(cpu->id);
    }
    print("%lu in all\n", started);
    return 0;
}
