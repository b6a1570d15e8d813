// How isolated the program is: what it sees of the machine that it runs on.

#include <linux/fcntl.h>
#include <linux/sysinfo.h>
#include <linux/time.h>
#include <linux/utsname.h>

#include "shared.h"

#define MAX_NAMES 40  // of a folder that are shown

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

const struct action see_actions[] = {{"see", 0, see, NULL}, {0}};
