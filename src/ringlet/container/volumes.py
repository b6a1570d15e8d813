"""Where a volume's source is, without links that a container could have made.

A container that has had a volume may have left a link in it. The path of another container's volume
through this link would lead to what the first container wanted: any file of the host. Whose link
it is doesn't tell, since what the container's root makes in a volume belongs to us, or to root.

Source: path_resolution(7); symlink(7).
"""

from __future__ import annotations

import os
import stat

from ringlet.errors import ConfigError

_AS_IT_IS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_MAX = 40  # as the kernel has it
_SYSTEM = ("/", "/var")  # who gives a container one of these to write to has given it the host


def find_source(path: str, what: str = "volume") -> str:
    """The path of what `path` leads to, with no link in it. Raises ConfigError."""
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
    """Whether the link in the folder `here` is root's, and no container's, as /var/run is."""
    is_roots = link.st_uid == folder.st_uid == 0 and not folder.st_mode & 0o022
    return is_roots and (os.geteuid() != 0 or here in _SYSTEM)
