// Works as its command line says, in ring 3; the same program runs on Linux: `ringlet compare`.
//
// It takes actions with their arguments, one after another, and prints words NAME=VALUE. The first
// line of all, `started`, has the time-stamp counter at its first instruction and right before that
// line was written. If something fails, `error` is Linux's number of the error, and the status is 1.
//
// program/ has the actions, a group of actions in a file.

#include "program/shared.h"

static const struct action *const tables[] = {
    time_actions, compute_actions, kernel_actions, memory_actions,
    disk_actions, see_actions,     fork_actions,
};

static const struct action *find(const char *name) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct action *action = tables[i]; action->name; action++)
            if (same(name, action->name))
                return action;
    return NULL;
}

// One action after another. The status is that of the last one that failed.
int work(int count, char **words) {
    uint64_t first = cycles();
    put_value("started first=", first);
    put_value("now=", cycles());
    end_line();
    int status = 0, at = 1;
    do {
        const struct action *action = at < count ? find(words[at]) : NULL;
        if (!action || count - at - 1 < action->arguments) {
            say("unknown action, or too few words for it: guests/README.md has a list");
            return UNKNOWN;
        }
        int result = action->run(words + at + 1);
        if (result)
            status = result;
        at += 1 + action->arguments;
        at += at < count && action->option && same(words[at], action->option);
    } while (at < count);
    return status;
}
