"""Who gets to a folder of the host's.

A file that belongs to a user, is setuid, and can be reached by others, makes them that user. What
the root of a container writes into a folder of the host's can be such a file.

Source: path_resolution(7); inode(7), "The file type and mode"; acl(5).
"""

from __future__ import annotations

import os

_SEARCH = 0o011  # for the group and others. Where there is an ACL, the group's bits bound all of it


def is_reached_by_others(folder: int) -> bool:
    """Whether others than we and root get to it, through all the folders that it lies in.

    Its own mode closes nothing: the container's root owns the folder, and may open it again.
    It is a descriptor, and so are those: what a name leads to may change.
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
            if os.path.samestat(os.fstat(here), status):  # the root
                return True
    finally:
        os.close(here)
