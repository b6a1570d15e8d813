// Prints a line, then loops for ever with interrupts off.

#include "guest.h"

int main(const struct hvm_start_info *info) {
    (void)info;
    print("Spinning for ever, interrupts off.\n");
    for (;;)
        asm volatile("");
}
