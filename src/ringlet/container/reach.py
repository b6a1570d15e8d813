"""Tells who can reach a folder of the host.

A setuid file gives the rights of its owner to everybody who can reach and run the file. A container
whose root writes into a folder of the host can make such a file there.

Source: path_resolution(7); inode(7), "The file type and mode"; acl(5).
"""

from __future__ import annotations

import os

_SEARCH = 0o011  # of the group and others. In an ACL, the group's bits limit all entries


def is_reached_by_others(folder: int) -> bool:
    """Returns whether users other than us and root can reach the folder through its parents.

    The folder's own mode protects nothing: the container's root owns the folder, and can change its
    mode. `folder` and its parents are descriptors, because a path may come to lead elsewhere.
    """
    here = os.dup(folder)
    inside = False
    try:
        while True:
            status = os.fstat(here)
            if inside and status.st_uid in (0, os.geteuid()) and not status.st_mode & _SEARCH:
                return False
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here, inside = above, True
            if os.path.samestat(os.fstat(here), status):  # this is the root folder
                return True
    finally:
        os.close(here)
