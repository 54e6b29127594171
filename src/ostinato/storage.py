"""Files that are never half-written."""

import os
import tempfile
from pathlib import Path


def atomic_write(path: str | Path, data: bytes | str) -> Path:
    """Writes `data` under a temporary name in the same folder, flushes it to the disk and renames it.

    A reader sees the old file or the new one. When anything fails (a full disk, say) the temporary file is
    removed and the old file stands.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the message names the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)  # noqa: PTH105 - the one call that is atomic on every system
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            kept = "; the file that was there stands" if path.exists() else ""
            raise OSError(error.errno, f"{path} could not be written ({error.strerror or error}){kept}") from error
        raise
    if os.name == "posix":  # the rename itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path
