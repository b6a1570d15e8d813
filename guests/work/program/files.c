// Files, as the actions read them.

#include <linux/fcntl.h>

#include "shared.h"

long read_file(const char *path, char *bytes, size_t size) {
    long file = call(open, path, O_RDONLY | O_NONBLOCK);
    if (file < 0)
        return file;
    long result = call(read, file, bytes, size);
    call(close, file);
    return result;
}
