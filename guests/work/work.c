// Works as its command line says, in ring 3; the same program runs on Linux: `ringlet compare`.
//
// It takes actions with their arguments, one after another, and prints words NAME=VALUE. The first
// line of all, `started`, has the time-stamp counter at its first instruction and right before that
// line was written. Where something fails, `error` is Linux's number of it and the status 1.

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/signal.h>
#include <linux/sysinfo.h>
#include <linux/time.h>
#include <linux/utsname.h>

#include <asm/unistd_64.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "program.h"

#define INPUT 0
#define OUTPUT 1
#define PAGE 4096ul
#define MIB (1ul << 20)
#define MAX_NUMBER (1ul << 40)
#define MAX_BLOCK MIB
#define MAX_FORKS 65536ul
#define MAX_NAMES 40  // of a folder that are shown

#define FAILED 1
#define UNKNOWN 2
#define REFUSED 3

#define SCRATCH_REGISTER 0x3ff  // of COM1: eight bits without a meaning

// Numbers that only look random: the same ones everywhere (Knuth's MMIX).
#define NEXT(x) ((x) * 6364136223846793005ul + 1442695040888963407ul)

#define CALL_6(number, a, b, c, d, e, f, ...) \
    system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define call_number(...) CALL_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define call(name, ...) call_number(__NR_##name, ##__VA_ARGS__)

// The fences keep what is before the counter there, and what is after it.
static uint64_t cycles(void) {
    uint32_t low, high;
    asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

// A line goes out at once: who reads it takes the time. What is too long is cut off.
static char line[4096];
static size_t line_size;

static void put_char(char character) {
    if (line_size < sizeof line - 1)
        line[line_size++] = character;
}

static void put(const char *text) {
    while (*text)
        put_char(*text++);
}

static void put_number(uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (at < sizeof digits)
        put_char(digits[at++]);
}

static void put_value(const char *name, uint64_t value) {
    if (line_size)
        put_char(' ');
    put(name);
    put_number(value);
}

static void end_line(void) {
    line[line_size++] = '\n';
    call(write, OUTPUT, line, line_size);
    line_size = 0;
}

static void say(const char *text) {
    put(text);
    end_line();
}

static int failed(long error) {
    put_value("error=", (uint64_t)-error);
    end_line();
    return FAILED;
}

static int done(uint64_t started) {
    put_value("cycles=", cycles() - started);
    end_line();
    return 0;
}

static int checked(uint64_t started, uint64_t ended, uint64_t check) {
    put_value("cycles=", ended - started);
    put_value("check=", check);
    end_line();
    return 0;
}

static bool same(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static bool is_number(const char *text) {
    const char *at = text;
    while (*at >= '0' && *at <= '9')
        at++;
    return at != text && !*at;
}

// What isn't a number, or is too large a one, is too large for all that takes numbers.
static uint64_t number(const char *text) {
    uint64_t value = 0;
    if (!is_number(text))
        return MAX_NUMBER;
    while (*text && value < MAX_NUMBER)
        value = value * 10 + (uint64_t)(*text++ - '0');
    return value < MAX_NUMBER ? value : MAX_NUMBER;
}

// Memory that nobody has touched yet; NULL where there isn't so much.
static void *map(uint64_t size) {
    long address = call(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    return address < 0 && address >= -4095 ? NULL : (void *)address;
}

static _Noreturn void rest(void) {
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

static bool read_clock(int clock, struct timespec *time) {
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

static int loop(char **words) {
    uint64_t value = 1, started = cycles();
    for (uint64_t left = number(words[0]); left; left--)
        value = NEXT(value);
    return checked(started, cycles(), value);
}

static void sift_down(uint64_t *heap, uint64_t root, uint64_t size) {
    uint64_t value = heap[root];
    for (uint64_t child; (child = 2 * root + 1) < size; root = child) {
        if (child + 1 < size && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= value)
            break;
        heap[root] = heap[child];
    }
    heap[root] = value;
}

// Heap sort (Knuth, The Art of Computer Programming, 5.2.3): no order of the input is a good one.
static int sort(char **words) {
    uint64_t count = number(words[0]), value = 1, check = 0;
    uint64_t *heap = map(count * sizeof *heap);
    if (!heap)
        return failed(-ENOMEM);
    for (uint64_t i = 0; i < count; i++)
        heap[i] = value = NEXT(value);
    uint64_t started = cycles();
    for (uint64_t i = count / 2; i--;)
        sift_down(heap, i, count);
    for (uint64_t size = count - 1; size; size--) {
        uint64_t largest = heap[0];
        heap[0] = heap[size];
        sift_down(heap, 0, size);
        heap[size] = largest;
    }
    uint64_t ended = cycles();
    for (uint64_t i = 0; i < count; i++)
        check = NEXT(check) ^ heap[i];
    return checked(started, ended, check);
}

// FNV-1a, 64 bits (RFC 9923, section 2), over so many KiB.
static int hash(char **words) {
    uint64_t size = number(words[0]) * 1024, value = 1, result = 0xcbf29ce484222325;
    uint8_t *bytes = map(size);
    if (!bytes)
        return failed(-ENOMEM);
    for (uint64_t i = 0; i < size / 8; i++)
        ((uint64_t *)bytes)[i] = value = NEXT(value);
    uint64_t started = cycles();
    for (uint64_t i = 0; i < size; i++)
        result = (result ^ bytes[i]) * 0x100000001b3;
    return checked(started, cycles(), result);
}

static int system_calls(char **words) {
    uint64_t started = cycles();
    for (uint64_t left = number(words[0]); left; left--)
        call(getppid);
    return done(started);
}

// Whether the kernel is the guest's own, which knows how to read a port no times.
static bool own_kernel(void) {
    return call_number(CALL_READ_PORT, SCRATCH_REGISTER, 0) == 0;
}

// Each read of the port is a VM exit. On bare hardware it would be the hardware that is read: so
// Linux has to be told that it is in a VM.
static int port_exits(char **words) {
    uint64_t count = number(words[0]), started;
    if (own_kernel()) {
        started = cycles();
        call_number(CALL_READ_PORT, SCRATCH_REGISTER, count);
        return done(started);
    }
    if (!words[1] || !same(words[1], "vm")) {
        say("refused");
        return REFUSED;
    }
    long error = call(ioperm, SCRATCH_REGISTER, 1, 1);
    if (error)
        return failed(error);
    started = cycles();
    for (; count; count--)
        asm volatile("inb %w0, %%al" : : "d"(SCRATCH_REGISTER) : "rax");
    return done(started);
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

// Blocks of a file or disk, at places that look random: PATH SIZE COUNT [direct].
static int blocks(char **words, long how, bool flush) {
    uint64_t size = number(words[1]), left = number(words[2]), value = 1;
    bool direct = words[3] && same(words[3], "direct");
    if (!size || size > MAX_BLOCK)
        return failed(-EINVAL);
    void *block = map(MAX_BLOCK);
    if (!block)
        return failed(-ENOMEM);
    long flags = (how == __NR_pread64 ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0);
    long file = call(open, words[0], flags);
    if (file < 0)
        return failed(file);
    long end = call(lseek, file, 0, SEEK_END);
    if (end < (long)size)
        return failed(end < 0 ? end : -EINVAL);
    uint64_t started = cycles(), bytes = left * size;
    for (; left; left--) {
        value = NEXT(value);
        uint64_t place = (value >> 32) * ((uint64_t)end / size) >> 32;
        long result = call_number(how, file, block, size, place * size);
        if (result != (long)size)
            return failed(result < 0 ? result : -EIO);
        if (flush && (result = call(fdatasync, file)) < 0)
            return failed(result);
    }
    put_value("cycles=", cycles() - started);
    put_value("bytes=", bytes);
    end_line();
    return 0;
}

static int read_blocks(char **words) {
    return blocks(words, __NR_pread64, false);
}

static int write_blocks(char **words) {
    return blocks(words, __NR_pwrite64, false);
}

static int flush_blocks(char **words) {
    return blocks(words, __NR_pwrite64, true);
}

// A value has no spaces, and nothing that a terminal would take for a command.
static void put_clean(const char *text) {
    for (; *text; text++)
        put_char(*text > ' ' && *text < 0x7f && *text != ',' ? *text : '_');
}

static void see_text(const char *name, const char *text) {
    put(name);
    put_clean(*text ? text : "none");
    end_line();
}

static void see_number(const char *name, long value) {
    put(name);
    if (value < 0)
        put("none");
    else
        put_number((uint64_t)value);
    end_line();
}

struct entry {  // of a folder (Linux, getdents64(2))
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

// Has `each` called for each name in a folder but its own two. How many there are, or an error.
static long list(const char *folder, bool (*each)(const char *name, long number)) {
    static char entries[8192] __attribute__((aligned(8)));
    long count = 0, size, file = call(open, folder, O_RDONLY | O_DIRECTORY);
    if (file < 0)
        return file;
    while ((size = call(getdents64, file, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct entry *entry = (const void *)(entries + at);
            at += entry->size;
            if (!same(entry->name, ".") && !same(entry->name, ".."))
                count += each(entry->name, count);
        }
    call(close, file);
    return size < 0 ? size : count;
}

static bool count_process(const char *name, long number) {
    (void)number;
    return is_number(name);
}

static bool put_name(const char *name, long number) {
    if (number < MAX_NAMES) {
        if (number)
            put_char(',');
        put_clean(name);
    }
    return true;
}

static bool count_any(const char *name, long number) {
    (void)name, (void)number;
    return true;
}

static void see_folder(const char *name, const char *folder) {
    put(name);
    if (list(folder, put_name) <= 0)
        put("none");
    end_line();
}

static long read_file(const char *path, char *bytes, size_t size) {
    long file = call(open, path, O_RDONLY | O_NONBLOCK);
    if (file < 0)
        return file;
    long result = call(read, file, bytes, size);
    call(close, file);
    return result;
}

static char contents[16384];  // a record of /dev/kmsg takes up to 8 KiB

static void see_interfaces(void) {
    long size = read_file("/proc/net/dev", contents, sizeof contents - 1), shown = 0;
    put("interfaces=");
    contents[size > 0 ? size : 0] = 0;
    // A line for each, after two lines of titles: its name is what is before the colon.
    char *from = contents;
    for (char *at = contents; *at; at++) {
        if (*at == '\n' || *at == ' ')
            from = at + 1;
        else if (*at == ':') {
            *at = 0;
            shown += put_name(from, shown);
        }
    }
    if (!shown)
        put("none");
    end_line();
}

// Which of the kernel's insides can be read: a file with something in it, a folder likewise.
static void see_open(void) {
    static const char *const paths[] = {
        "/proc/version", "/proc/cmdline", "/proc/kcore", "/proc/keys", "/proc/kallsyms",
        "/proc/modules", "/proc/interrupts", "/proc/timer_list", "/proc/sched_debug",
        "/sys/kernel/security", "/sys/firmware/acpi", "/sys/class/dmi/id/product_name",
        "/dev/mem", "/dev/kmsg",
    };
    long shown = 0;
    put("open=");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (read_file(paths[i], contents, sizeof contents / 2) > 0 ||
            list(paths[i], count_any) > 0)
            shown += put_name(paths[i], shown);
    if (!shown)
        put("none");
    end_line();
}

// How isolated it is: what a program sees of the machine that it runs on.
static int see(char **words) {
    static struct new_utsname name;
    static struct sysinfo info;
    static uint64_t cpus[128];  // a bit for each
    struct timespec now;
    long count = 0;
    uint16_t code_segment;
    (void)words;
    asm("mov %%cs, %0" : "=r"(code_segment));
    see_number("ring=", code_segment & 3);
    call(uname, &name);
    see_text("kernel=", name.release);
    see_text("hostname=", name.nodename);
    see_number("pid=", call(getpid));
    long processes = list("/proc", count_process);
    if (processes > 0)
        see_number("processes=", processes);
    else
        say("processes=-1");
    see_folder("rootfiles=", "/");
    see_folder("devices=", "/dev");
    see_number("uptime=", read_clock(CLOCK_BOOTTIME, &now) ? now.tv_sec : -1);
    see_number("time=", read_clock(CLOCK_REALTIME, &now) ? now.tv_sec : -1);
    see_number("memory=", call(sysinfo, &info) ? -1 : (long)(info.totalram * info.mem_unit / 1024));
    if (call(sched_getaffinity, 0, sizeof cpus, cpus) > 0)
        for (size_t i = 0; i < 64 * sizeof cpus / sizeof *cpus; i++)
            count += cpus[i / 64] >> i % 64 & 1;
    see_number("cpus=", count ? count : -1);
    see_interfaces();
    see_open();
    return 0;
}

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

// Whether a word is among those of the kernel's command line.
static bool kernel_was_told(const char *word) {
    long size = read_file("/proc/cmdline", contents, sizeof contents - 1);
    char *from = contents;
    for (long i = 0; i < size; i++) {
        if (contents[i] != ' ' && contents[i] != '\n')
            continue;
        contents[i] = 0;
        if (same(from, word))
            return true;
        from = contents + i + 1;
    }
    return false;
}

// Crashes its kernel: its own one at once, Linux only in a VM that was started for it.
static int crash(char **words) {
    (void)words;
    if (own_kernel()) {
        say("crashing");
        call_number(CALL_CRASH);
    }
    if (!kernel_was_told("ringlet_compare_crash")) {
        say("refused");
        return REFUSED;
    }
    say("crashing");
    long file = call(open, "/proc/sysrq-trigger", O_WRONLY);
    return failed(file < 0 ? file : call(write, file, "c", 1));
}

// Waits for a byte, then makes 110 system calls: for those who count them, or what comes of them.
static int calls(char **words) {
    char byte;
    (void)words;
    call(read, INPUT, &byte, 1);
    for (int i = 0; i < 100; i++)
        call(getppid);
    for (int i = 0; i < 10; i++)
        say("x=1");
    return 0;
}

static const struct action {
    const char *name;
    int arguments;
    int (*run)(char **words);
    const char *option;  // a word more that it may have
} actions[] = {
    {"start", 0, start, NULL},
    {"wait", 0, wait, NULL},
    {"hz", 0, hz, NULL},
    {"loop", 1, loop, NULL},
    {"sort", 1, sort, NULL},
    {"hash", 1, hash, NULL},
    {"syscall", 1, system_calls, NULL},
    {"exit", 1, port_exits, "vm"},
    {"touch", 1, touch, NULL},
    {"read", 3, read_blocks, "direct"},
    {"write", 3, write_blocks, "direct"},
    {"flush", 3, flush_blocks, "direct"},
    {"see", 0, see, NULL},
    {"fork", 1, forks, NULL},
    {"crash", 0, crash, NULL},
    {"calls", 0, calls, NULL},
};

static const struct action *find(const char *name) {
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (same(name, actions[i].name))
            return &actions[i];
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
