"""Folders that a group shares: what is made in one is the group's, too, whatever the umask of whoever makes it.

A folder is the group's where its group may write in it and it has the setgid bit, by which the kernel gives all that is
made in it to that group: ``chgrp GROUP FOLDER; chmod g+rwxs FOLDER``. Anywhere else nothing is changed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_FOR_FILES = stat.S_IRGRP | stat.S_IWGRP
_FOR_FOLDERS = stat.S_IRWXG | stat.S_ISGID
_SHARED = stat.S_IWGRP | stat.S_ISGID


def share(path: Path) -> None:
    """Let the group read and write a file or folder that this process has made, where its folder is the group's."""
    if not _is_shared(path.parent):
        return
    with suppress(PermissionError, FileNotFoundError):  # another's, who has done so; or gone by now
        mode = path.stat().st_mode
        wanted = mode | (_FOR_FOLDERS if stat.S_ISDIR(mode) else _FOR_FILES)
        if wanted != mode:
            path.chmod(stat.S_IMODE(wanted))


def share_opened(handle: int, path: Path) -> None:
    """Do the same with a file that is open."""
    if not _is_shared(path.parent):
        return
    mode = os.fstat(handle).st_mode
    if mode | _FOR_FILES != mode:
        with suppress(PermissionError):
            os.fchmod(handle, stat.S_IMODE(mode | _FOR_FILES))


def make_folder(path: Path) -> None:
    """Make a folder and those that it is in, as far as they are missing, each shared as the one that it is in."""
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        with suppress(FileExistsError):  # made by another process meanwhile
            missing.mkdir()
            share(missing)
    path.mkdir(exist_ok=True)  # refuses a file of that name


def _is_shared(folder: Path) -> bool:
    return folder.stat().st_mode & _SHARED == _SHARED
