// Crashes: an exception that has no handler is a triple fault.

#include "guest.h"

int main(const struct hvm_start_info *info) {
    (void)info;
    print("An exception with an empty IDT is a triple fault.\n");
    static const struct table_register empty;
    asm volatile("lidt %0; ud2" : : "m"(empty));
    return 1;  // not reached
}
