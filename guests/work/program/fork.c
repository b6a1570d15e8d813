// Processes: children that do nothing, as many as the kernel makes.

#include <linux/errno.h>
#include <linux/prctl.h>
#include <linux/signal.h>

#include "shared.h"

#define MAX_FORKS 65536ul

// Children that do nothing, until the kernel says no. They don't outlive this.
static int forks(char **words) {
    uint64_t most = number(words[0]), count = 0;
    long error = 0;
    if (most > MAX_FORKS)
        return failed(-EINVAL);
    int *children = map((most + 1) * sizeof *children);
    if (!children)
        return failed(-ENOMEM);
    for (; count < most; count++) {
        long child = call(fork);
        if (!child) {
            call(prctl, PR_SET_PDEATHSIG, SIGKILL);
            rest();
        }
        if (child < 0) {
            error = child;
            break;
        }
        children[count] = (int)child;
    }
    put_value("forks=", count);
    put_value("error=", (uint64_t)-error);
    end_line();
    for (uint64_t i = 0; i < count; i++)
        call(kill, children[i], SIGKILL);
    for (uint64_t i = 0; i < count; i++)
        call(wait4, children[i]);
    return 0;
}

const struct action fork_actions[] = {{"fork", 1, forks, NULL}, {0}};
