"""The folder in which kernels are kept. What lies there is run, so it belongs to the user alone.

Whoever can write to a folder above it could put another in its place: these belong to the user or to the system.
"""

import math
import os
import re
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from ....storage import atomic_write

UNUSED_DAYS = 90
LARGEST = 512 << 20  # bytes of all entries
_ENTRY = re.compile(r"\w+-[0-9a-f]{32}")


def directory() -> Path:
    """Where kernels are kept: in `OSTINATO_CACHE`, or in the user's cache directory.

    Raises:
        OSError: the user has no home directory.
    """
    if given := os.environ.get("OSTINATO_CACHE"):
        return Path(given).absolute() / "kernels"
    try:
        return _user_cache() / "ostinato" / "kernels"
    except RuntimeError as error:
        raise FileNotFoundError("this user has no home directory") from error


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification wants a relative path ignored.
    return given if given.is_absolute() else Path.home() / ".cache"


def private(folder: Path) -> Path:
    """The folder, made if need be, closed to everybody else.

    Raises:
        OSError: it cannot be made, or others could have put something there.
    """
    for path in (*reversed(folder.parents), folder):
        path.mkdir(mode=0o700, exist_ok=True)  # those above it too, whatever the umask is
        for parent in _on_the_way(path):
            _must_be_safe(parent)
    folder = folder.resolve()
    must_be_ours(folder, stat.S_IWGRP | stat.S_IWOTH)
    if os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder


def _on_the_way(path: Path) -> list[Path]:
    """The folders in which a path and the links that it is stand: who can write to one decides where it leads."""
    found = [path.parent]
    while path.is_symlink() and len(found) < 64:
        path = path.parent / path.readlink()
        found += path.parents
    return found


def must_be_ours(path: Path, bits: int = stat.S_IWOTH) -> None:
    """Checks who may have written what lies here. A link is refused; a group's right, which the umask may leave on a
    file, is worth nothing inside a closed folder.

    Raises:
        PermissionError: another user owns it, or can write to it by these bits of its mode; or it is no file or folder.
    """
    found = path.lstat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise PermissionError(f"{path} is no file: reading it may never end (rm {path} removes it)")
    if os.name != "posix":
        return
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    if stat.S_ISLNK(found.st_mode) or found.st_mode & bits:
        raise PermissionError(f"{path} is {'a link' if path.is_symlink() else 'writable by others'}")


def _must_be_safe(parent: Path) -> None:
    """Checks that nobody else can rename what lies in this folder; in one with the sticky bit only owners can.

    Raises:
        PermissionError: another user owns it, or can write to it.
    """
    if os.name != "posix":
        return
    found = parent.stat()
    # Whoever owns the root owns the machine; inside a user namespace that need not be number 0.
    if found.st_uid not in (0, os.getuid(), Path(parent.anchor).stat().st_uid):
        raise PermissionError(f"{parent}, a folder above it, belongs to another user")
    shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _of_one(found.st_gid))
    if shared and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(f"{parent}, a folder above it, is writable by others (chmod go-w {parent} closes it)")


def _of_one(group: int) -> bool:
    """Whether a group is the system's, or the user's own: where each user has one, the umask leaves it its rights."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return group == 0
    return group == 0 or (found.gr_name == user and set(found.gr_mem) <= {user})


def placed(file: Path, text: str) -> bool:
    """Writes the source, unless exactly this text lies there already. Whether it was written.

    Raises:
        OSError: it cannot be written, or somebody else's file is in its place.
    """
    if file.is_symlink() or file.exists():
        must_be_ours(file)
        if file.stat().st_size == len(text.encode()) and file.read_bytes() == text.encode():
            os.utime(file)  # when it was last used
            return False
    # Machine code whose source was another text.
    beside(file).unlink(missing_ok=True)
    atomic_write(file, text)
    return True


def beside(file: Path) -> Path:
    """Where the machine code of a source lies."""
    return file.with_suffix(".o")


def tidy(new: Path) -> None:
    """Closes what was just written, and removes entries that are unused for long, or the oldest if all are too much."""
    for path in (new, beside(new)):
        path.chmod(0o600)
    entries: dict[str, dict[Path, os.stat_result]] = {}
    for path in new.parent.rglob("*"):
        stem = path.name.lstrip(".").split(".")[0]
        # Another process may tidy as well, and a file be gone by now.
        with suppress(FileNotFoundError):
            if _ENTRY.fullmatch(stem):
                entries.setdefault(stem, {})[path] = path.lstat()
    total, oldest = 0, time.time() - UNUSED_DAYS * 86400
    used = {stem: max(found.st_mtime for found in files.values()) for stem, files in entries.items()}
    used[new.stem] = math.inf
    for stem in sorted(entries, key=used.__getitem__, reverse=True):
        total += sum(found.st_size for found in entries[stem].values())
        if used[stem] < oldest or (total > LARGEST and stem != new.stem):
            for path in entries[stem]:
                path.unlink(missing_ok=True)
