"""Who may open a device, and what a user who may not can do."""

from __future__ import annotations

import os
import stat

READ_AND_WRITE = stat.S_IRGRP | stat.S_IWGRP


def advice(path: str) -> str:
    """What to do where this user may not open ``path`` for reading and writing."""
    import grp
    import pwd

    try:
        found = os.stat(path)
    except OSError:
        return "ask whoever looks after this host"
    if found.st_mode & READ_AND_WRITE != READ_AND_WRITE or found.st_gid == 0:
        return f"let others open it (sudo chmod 666 {path})"
    try:
        group, members = grp.getgrgid(found.st_gid)[0::3]
    except KeyError:
        group, members = str(found.st_gid), []
    try:
        user = pwd.getpwuid(os.geteuid())[0]
    except KeyError:
        user = str(os.geteuid())
    if user in members:
        return f"you are in the group {group} from the next login on (log in again, or newgrp {group})"
    return f"add yourself to the group {group} (sudo usermod -aG {group} {user}, then log in again)"
