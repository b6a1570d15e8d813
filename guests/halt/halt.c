// Prints a line, then halts for good with interrupts off.

#include "guest.h"

int main(const struct hvm_start_info *info) {
    (void)info;
    print("Halting with interrupts off.\n");
    halt();
}
