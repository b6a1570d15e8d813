// Where C begins: what every guest does before and after its main().

#include "guest.h"

_Noreturn void start(const struct hvm_start_info *info) {
    load_idt(exception_gates, sizeof *exception_gates * EXCEPTIONS);
    serial_init();
    exit((uint8_t)main(info));
}

_Noreturn void exit(uint8_t status) {
    outb(EXIT_PORT, status);
    halt();  // where there is no such port
}
