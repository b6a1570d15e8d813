// Says hello from ring 0, and shows its command line.

#include "guest.h"

int main(const struct hvm_start_info *info) {
    const char *line = (const char *)info->cmdline_paddr;
    print("Hello from @NAME@, in ring %lu!\n", READ_REGISTER("cs") & 3);
    if (line && *line)
        print("My command line is: %s\n", line);
    return 0;  // the status of the run
}
