"""The requests and answers of FUSE, protocol 7.36. Source: Linux, include/uapi/linux/fuse.h."""

from __future__ import annotations

import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ringlet.host.named_tuple import NamedTuple

MAJOR, MINOR = 7, 36
ROOT = 1  # the root's node

# Operations.
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT = 21, 22, 23, 24, 25, 26
OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 27, 28, 29, 30
CREATE, INTERRUPT, DESTROY = 35, 36, 38
BATCH_FORGET, FALLOCATE, READDIRPLUS, RENAME2, LSEEK = 42, 43, 44, 45, 46
COPY_FILE_RANGE, SYNCFS = 47, 50

# Flags of INIT.
ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
AUTO_INVAL_DATA = 1 << 12
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22

# What SETATTR changes.
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 1, 2, 4, 8, 16, 32
SET_HANDLE, SET_ATIME_NOW, SET_MTIME_NOW = 64, 128, 256

GETATTR_HANDLE = 1
FSYNC_DATA_ONLY = 1
CACHE_DIR = 1 << 3  # of an open folder: the guest may keep the list

REQUEST = Struct("<IIQQIIII")  # size, operation, number, node, user, group, process, unused
ANSWER = Struct("<IiQ")  # size, error, number
ATTRIBUTES = Struct("<6Q10I")
ENTRY = Struct("<4Q2I")  # before the attributes
ATTRIBUTES_ANSWER = Struct("<QII")  # before the attributes
OPEN_ANSWER = Struct("<QII")
INIT_IN = Struct("<4I")
INIT_ANSWER = Struct("<4I2H2I2HI28x")
GETATTR_IN = Struct("<IIQ")
SETATTR_IN = Struct("<IIQQQQQQIIIIIIII")
MKNOD_IN = Struct("<4I")
MKDIR_IN = Struct("<2I")
RENAME_IN = Struct("<Q")
RENAME2_IN = Struct("<QII")
LINK_IN = Struct("<Q")
OPEN_IN = Struct("<2I")
CREATE_IN = Struct("<4I")
READ_IN = Struct("<QQIIQII")
WRITE_IN = READ_IN
WRITE_ANSWER = Struct("<II")
RELEASE_IN = Struct("<QIIQ")
FSYNC_IN = Struct("<QII")
SETXATTR_IN = Struct("<2I")
GETXATTR_IN = Struct("<2I")
GETXATTR_ANSWER = Struct("<2I")
STATFS_ANSWER = Struct("<5Q4I24x")
FORGET_IN = Struct("<Q")
BATCH_FORGET_IN = Struct("<2I")
FORGET_ONE = Struct("<QQ")
FALLOCATE_IN = Struct("<QQQII")
LSEEK_IN = Struct("<QQII")
LSEEK_ANSWER = Struct("<Q")
DIRENT = Struct("<QQII")  # before the name, which is padded to 8 bytes


class Request(NamedTuple):
    """A request: its header's fields and the bytes after the header, without a write's data."""

    operation: int
    number: int
    node: int
    uid: int
    gid: int
    body: bytes


def attributes(status: os.stat_result, uid: int, gid: int) -> bytes:
    """Returns the attributes of an inode that `uid` and `gid` own, as the guest sees them."""
    times = [divmod(t, 10**9) for t in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    return ATTRIBUTES.pack(
        *(status.st_ino, status.st_size, status.st_blocks),
        *(seconds & 0xFFFF_FFFF_FFFF_FFFF for seconds, _ in times),
        *(nanoseconds for _, nanoseconds in times),
        *(status.st_mode, status.st_nlink & 0xFFFF_FFFF, uid, gid),
        *(_device(status.st_rdev), status.st_blksize, 0),
    )


def _device(number: int) -> int:
    """Returns a device's number as Linux's new_encode_dev writes it in 32 bits."""
    major, minor = os.major(number), os.minor(number)
    return (minor & 0xFF | major << 8 | (minor & ~0xFF) << 12) & 0xFFFF_FFFF
