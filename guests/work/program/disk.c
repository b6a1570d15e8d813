// Blocks of a file or a disk, read and written at places that look random.

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>

#include "shared.h"

// PATH SIZE COUNT [direct].
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

const struct action disk_actions[] = {
    {"read", 3, read_blocks, "direct"},
    {"write", 3, write_blocks, "direct"},
    {"flush", 3, flush_blocks, "direct"},
    {0},
};
