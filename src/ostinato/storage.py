"""Files that are never half-written."""

import os
import secrets
import shutil
from pathlib import Path


def atomic_write(path: str | Path, data: bytes | str) -> Path:
    """Writes `data` under a temporary name in the same folder, flushes it to the disk and renames it.

    A reader sees the old file or the new one. When anything fails (a full disk, say) the temporary file is removed
    and the old file stands. A link is followed, an old file's mode is kept, missing folders are made.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the message names the file.
    """
    target = Path(path).resolve()
    # The same folder is the same file system, and only there is the replacement atomic.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = "; the file that was there stands" if target.exists() else ""
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}{kept}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The new name is on disk only when its folder is.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return Path(path)
