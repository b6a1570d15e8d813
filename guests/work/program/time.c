// The beginning and the clock: actions that start, wait, and measure the time-stamp counter.

#include <linux/errno.h>
#include <linux/time.h>

#include "shared.h"

_Noreturn void rest(void) {
    for (;;)
        call(pause);
}

static int start(char **words) {
    (void)words;
    return 0;
}

static int wait(char **words) {
    (void)words;
    rest();
}

bool read_clock(int clock, struct timespec *time) {
    return call(clock_gettime, clock, time) == 0;
}

// Ticks of the time-stamp counter in a second.
static int hz(char **words) {
    struct timespec began, now;
    (void)words;
    if (!read_clock(CLOCK_MONOTONIC, &began))
        return failed(-ENOSYS);
    uint64_t started = cycles(), ended, nanoseconds;
    do {
        read_clock(CLOCK_MONOTONIC, &now);
        ended = cycles();
        nanoseconds = (uint64_t)(now.tv_sec - began.tv_sec) * 1000000000 +
                      (uint64_t)(now.tv_nsec - began.tv_nsec);
    } while (nanoseconds < 50000000);
    // Microseconds are exact enough, and leave room for the product.
    put_value("hz=", (ended - started) * 1000000 / (nanoseconds / 1000));
    end_line();
    return 0;
}

const struct action time_actions[] = {
    {"start", 0, start, NULL},
    {"wait", 0, wait, NULL},
    {"hz", 0, hz, NULL},
    {0},
};
