// What the program's actions share. Each file of actions has a table of them.
#pragma once

#include <asm/unistd_64.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../program.h"

#define INPUT 0
#define OUTPUT 1
#define PAGE 4096ul
#define MIB (1ul << 20)
#define MAX_NUMBER (1ul << 40)
#define MAX_BLOCK MIB

#define FAILED 1
#define UNKNOWN 2
#define REFUSED 3

struct timespec;

// An action: it gets the words behind its name, and returns its status.
struct action {
    const char *name;
    int arguments;
    int (*run)(char **words);
    const char *option;  // a word more that it may have
};

// Each table ends with an action that has no name.
extern const struct action time_actions[], compute_actions[], kernel_actions[], memory_actions[],
    disk_actions[], see_actions[], fork_actions[];

// Numbers that only look random: the same ones everywhere (Knuth's MMIX).
#define NEXT(x) ((x) * 6364136223846793005ul + 1442695040888963407ul)

#define CALL_6(number, a, b, c, d, e, f, ...) \
    system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define call_number(...) CALL_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define call(name, ...) call_number(__NR_##name, ##__VA_ARGS__)

// The fences keep what is before the counter there, and what is after it.
static inline uint64_t cycles(void) {
    uint32_t low, high;
    asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

// output.c
void put_char(char character);
void put(const char *text);
void put_number(uint64_t value);
void put_value(const char *name, uint64_t value);
void put_clean(const char *text);
void end_line(void);
void say(const char *text);
int failed(long error);  // shows the error, and returns the status, as the next two do
int done(uint64_t started);
int checked(uint64_t started, uint64_t ended, uint64_t check);

// words.c
bool same(const char *a, const char *b);
bool is_number(const char *text);
uint64_t number(const char *text);

// memory.c
void *map(uint64_t size);

// files.c
long read_file(const char *path, char *bytes, size_t size);

// time.c
_Noreturn void rest(void);
bool read_clock(int clock, struct timespec *time);
