"""Resolves the source of a volume, and follows no link that a container could have made.

A container with a volume may have left a link in it. If the path of another container's volume
leads through this link, the first container chooses its target: any file of the host. The owner of
the link tells nothing, since files that the container's root makes in a volume belong to us, or to
root.

Source: path_resolution(7); symlink(7).
"""

from __future__ import annotations

import os
import stat

from ringlet.errors import ConfigError

_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_MAX = 40  # as in the kernel
_SYSTEM = ("/", "/var")  # a user who lets a container write to one of these has given it the host


def find_source(path: str, what: str = "volume") -> str:
    """Returns the path that `path` leads to, without any link in it. Raises ConfigError."""
    names = os.path.abspath(path).split("/")[::-1]
    here, place, links = "/", os.open("/", _AS_IT_IS), 0
    try:
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            found = os.open(name, _AS_IT_IS, dir_fd=place)
            try:
                status = os.fstat(found)
                if not stat.S_ISLNK(status.st_mode):
                    here = os.path.dirname(here) if name == ".." else os.path.join(here, name)
                    place, found = found, place
                    continue
                links += 1
                if links > _LINKS_MAX or not _is_the_systems(here, os.fstat(place), status):
                    raise ConfigError(
                        f"the {what} {path} is behind the link {os.path.join(here, name)}, which "
                        "a container could have made",
                        f"if you mean it, name where it leads: {os.path.realpath(path)}",
                    )
                target = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            names += target.split("/")[::-1]
            if target.startswith("/"):
                os.close(place)
                here, place = "/", os.open("/", _AS_IT_IS)
    except OSError as error:
        raise ConfigError(
            f"there is no {path} for a {what}: {error.strerror}", "check the path, or make it"
        ) from None
    finally:
        os.close(place)
    return here


def _is_the_systems(here: str, folder: os.stat_result, link: os.stat_result) -> bool:
    """Returns whether root, not a container, made a link in the folder `here`, such as /var/run."""
    is_roots = link.st_uid == folder.st_uid == 0 and not folder.st_mode & 0o022
    return is_roots and (os.geteuid() != 0 or here in _SYSTEM)
