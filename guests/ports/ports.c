// Writes count=N times to the UART's scratch register, for benchmarks.

#include "guest.h"

#define DEFAULT_COUNT 100000

// The decimal number after "count=" in the command line.
static uint64_t read_count(const char *command_line) {
    static const char key[] = "count=";
    for (; command_line && *command_line; command_line++) {
        size_t i = 0;
        while (key[i] && command_line[i] == key[i])
            i++;
        if (key[i])
            continue;
        uint64_t count = 0;
        for (const char *digit = command_line + i; *digit >= '0' && *digit <= '9'; digit++)
            count = count * 10 + (uint64_t)(*digit - '0');
        return count;
    }
    return DEFAULT_COUNT;
}

int main(const struct hvm_start_info *info) {
    for (uint64_t left = read_count((const char *)info->cmdline_paddr); left; left--)
        outb(UART_SCR, 0);
    return 0;
}
