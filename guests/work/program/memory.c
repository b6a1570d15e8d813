// Memory: what the actions map, and the action that touches memory.

#include <linux/errno.h>
#include <linux/mman.h>

#include "shared.h"

// Memory that nobody has touched yet; NULL where there isn't so much.
void *map(uint64_t size) {
    long address = call(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    return address < 0 && address >= -4095 ? NULL : (void *)address;
}

static int touch(char **words) {
    uint64_t size = number(words[0]) * MIB;
    volatile uint8_t *bytes = map(size);
    if (!bytes)
        return failed(-ENOMEM);
    say("mapped");
    for (uint64_t i = 0; i < size; i += PAGE)
        bytes[i] = 1;
    say("touched");
    rest();
}

const struct action memory_actions[] = {{"touch", 1, touch, NULL}, {0}};
