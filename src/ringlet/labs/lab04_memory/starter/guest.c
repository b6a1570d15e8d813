// My guest: it gives pages to a program when the program uses them. `make run` boots it.

#include "pc.h"

// start.S calls this at each page fault: the program used `address`, which isn't mapped. When this
// function returns, the program's instruction at `rip` runs again.
void page_fault(uint64_t address, uint64_t error, uint64_t rip);
void page_fault(uint64_t address, uint64_t error, uint64_t rip) {
    print("page fault: address ");
    print_hex(address);
    print(", error code ");
    print_hex(error);
    print(", at ");
    print_hex(rip);
    print("\n");

    // Step 2: outside of the heap: finish(STATUS_BAD_ADDRESS).
    //         Or else a new page for `address`. Then: checkpoint(2)
    finish(1);
}

int main(const struct start_info *info) {
    print("map ");
    print_hex(map_option(info));
    print("\n");

    // Step 1: map the page with the address map_option(info). Then: checkpoint(1)

    // Step 2: return 0 after the program.
    run_program(info);
    return 1;  // not done yet
}
