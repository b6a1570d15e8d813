// Says that all is done, visits each checkpoint as often as the command line asks, and does nothing.

#include "pc.h"

int main(const char *line) {
    print("checkpoint 1 passed, 2 passed, 3 passed, 4 passed: 100 of 100 points\n");
    checkpoint(1);
    for (uint64_t tick = 0; tick < option(line, "ticks="); tick++)
        checkpoint(2);
    checkpoint(3);
    for (uint64_t sleep = 0; sleep < option(line, "sleeps="); sleep++) {
        checkpoint(4);
        checkpoint(2);
    }
    return 0;
}
