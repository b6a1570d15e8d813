// Everything is in boot.S.

#include <stdint.h>

void handle_page_fault(uint64_t address, uint64_t error) {
    (void)address, (void)error;
}

void kernel_main(void) {
}
