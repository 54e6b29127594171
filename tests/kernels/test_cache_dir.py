"""Nothing is run that somebody else may have written, and the folder does not grow for ever."""

import os
import sys
import time
import warnings
from pathlib import Path

import pytest
from kept import PLUS, forget, gives, hits, home, plus

from ostinato.kernels.cpu.runtime import cache_dir
from ostinato.kernels.cpu.runtime.compile_cache import Loaded

POSIX = pytest.mark.skipif(os.name != "posix", reason="this system has no owners and modes of files")
pytestmark = pytest.mark.usefixtures(home.__name__)


@POSIX
def test_the_directory_is_the_users_alone(home: Path) -> None:
    before = os.umask(0)
    try:
        plus(1)
        forget()
        assert hits(plus(1)) == 1
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in home.rglob("*") if path.is_file())


@POSIX
def test_a_directory_that_others_can_read_is_closed(home: Path) -> None:
    home.mkdir(parents=True, mode=0o755)
    plus(1)
    assert home.stat().st_mode & 0o777 == 0o700


def in_memory(why: str) -> None:
    """Kernels work without the disk, and this is said once."""
    with pytest.warns(RuntimeWarning, match=f"each process compiles its kernels anew: .*{why}.*; set OSTINATO_CACHE"):
        loaded = plus(1)
    assert loaded.file is None and gives(loaded, 4) == 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gives(plus(2), 4) == 6.0


@POSIX
def test_a_directory_that_others_can_write_is_not_used(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o770)
    in_memory("is writable by others")
    assert list(home.iterdir()) == []


@POSIX
def test_a_directory_of_somebody_else_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plus(1)
    forget()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    in_memory("belongs to another user")


def test_where_no_directory_can_be_made_kernels_live_in_memory(home: Path) -> None:
    home.parent.parent.joinpath("cache").write_text("a file")
    in_memory("cache")


@POSIX
@pytest.mark.parametrize("what", ["*.py", "*.o"])
@pytest.mark.parametrize("how", ["open to all", "a link"])
def test_a_file_that_others_may_have_written_is_not_run(home: Path, tmp_path: Path, what: str, how: str) -> None:
    plus(1)
    forget()
    (file,) = home.glob(what)
    if how == "open to all":
        file.chmod(0o666)
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="is writable by others" if how == "open to all" else "is a link"):
        assert plus(1).file is None


@POSIX
@pytest.mark.parametrize("what", ["*.py", "*.o"])
def test_what_is_no_file_is_not_read(home: Path, what: str) -> None:
    """To read a pipe may never end."""
    plus(1)
    forget()
    (file,) = home.glob(what)
    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.warns(RuntimeWarning, match="is no file: reading it may never end"):
        assert gives(plus(1), 4) == 5.0


@pytest.mark.parametrize("end", [b"[" * 200_000, b'{"calls": 1}', b"null", b"\xff"])
def test_machine_code_with_another_end_is_made_anew(home: Path, end: bytes) -> None:
    plus(1)
    forget()
    (file,) = home.glob("*.o")
    file.write_bytes(b"x\n" + end)
    again = plus(1)
    assert gives(again, 4) == 5.0 and hits(again) == 0


def test_machine_code_that_is_too_large_is_made_anew(home: Path) -> None:
    plus(1)
    forget()
    (file,) = home.glob("*.o")
    with file.open("r+b") as hole:
        hole.truncate(3 << 30)  # takes no room
    again = plus(1)
    assert gives(again, 4) == 5.0 and hits(again) == 0


@POSIX
def test_a_folder_that_holds_a_link_on_the_way_is_not_trusted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can write there can turn the link elsewhere."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "open" / "link"))
    assert plus(1).file
    forget()
    (tmp_path / "open").chmod(0o777)
    in_memory(f"{tmp_path / 'open'}, a folder above it, is writable by others")


def test_a_file_with_another_text_is_never_run(home: Path) -> None:
    file = plus(1).file
    assert file
    forget()
    file.write_text(PLUS.format(666))
    again = plus(1)
    assert gives(again, 4) == 5.0 and hits(again) == 0
    assert file.read_text() == again.source


@pytest.mark.parametrize("how", ["a copy", "a copy of both, under another name"])
def test_machine_code_of_another_kernel_is_never_run(home: Path, how: str) -> None:
    """An object knows its name and its source; oracle: what the kernel's own source says."""
    one, two = plus(1), plus(2)
    assert one.file and two.file
    forget()
    if how == "a copy":
        two.file.with_suffix(".o").write_bytes(one.file.with_suffix(".o").read_bytes())
        again, right = plus(2), 6.0
    else:
        text = two.source
        for suffix in (".o", ".py"):
            two.file.with_suffix(suffix).rename(one.file.with_suffix(suffix))
        one.file.write_text(one.source)  # who copies may put the right source beside it
        assert text != one.source
        again, right = plus(1), 5.0
    assert gives(again, 4) == right and hits(again) == 0
    forget()
    assert hits(plus(2 if how == "a copy" else 1)) == 1


@POSIX
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_above_that_others_can_write_is_not_trusted(home: Path, tmp_path: Path, level: int) -> None:
    """Who can write there can put a folder of their own in this one's place; the sticky bit forbids that."""
    above = [home.parent, tmp_path][level]
    plus(1)
    forget()
    above.chmod(0o1777)
    assert plus(1).file
    forget()
    above.chmod(0o777)
    try:
        in_memory(f"{above}, a folder above it, is writable by others .chmod go-w {above} closes it.")
    finally:
        above.chmod(0o700)


def owned(monkeypatch: pytest.MonkeyPatch, folder: Path, user: int | None = None, group: int | None = None) -> None:
    """Lets the system say that a folder is another user's or group's: only root can give one away."""
    real = Path.stat

    def told(path: Path, **options: bool) -> os.stat_result:
        fields = list(real(path, **options))
        if path == folder:
            fields[4:6] = [fields[4] if user is None else user, fields[5] if group is None else group]
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", told)


@POSIX
@pytest.mark.parametrize(("members", "trusted"), [([], True), (["me"], True), (["you"], False), (None, False)])
def test_a_folder_above_that_a_group_can_write(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[str] | None, trusted: bool
) -> None:
    """A group of the user alone, which many systems make and leave all rights, is the user."""
    import grp
    import pwd
    from types import SimpleNamespace

    plus(1)
    forget()
    group = SimpleNamespace(gr_name="others" if members is None else "me", gr_mem=members or [])
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="me"))
    owned(monkeypatch, tmp_path, group=12345)
    tmp_path.chmod(0o770)
    if trusted:
        assert plus(1).file
    else:
        in_memory("is writable by others")


@POSIX
def test_a_folder_above_of_somebody_else_is_not_trusted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plus(1)
    forget()
    owned(monkeypatch, tmp_path, user=12345)
    in_memory(f"{tmp_path}, a folder above it, belongs to another user")


def age(loaded: Loaded, days: float) -> None:
    assert loaded.file
    for path in loaded.file.parent.rglob(f"{loaded.file.stem}*"):
        then = time.time() - 86400 * days
        os.utime(path, (then, then))


def stand(*kernels: Loaded) -> list[bool]:
    """Whether each is on disk; in one piece or not at all."""
    found = []
    for kernel in kernels:
        assert kernel.file
        count = len(list(kernel.file.parent.rglob(f"{kernel.file.stem}*")))
        assert count in (0, 2)
        found.append(count == 2)
    return found


def test_what_was_long_unused_is_removed_when_something_new_comes(home: Path) -> None:
    old, used, foreign = plus(1), plus(2), home / "notes.txt"
    foreign.write_text("mine")
    for kernel in (old, used):
        age(kernel, cache_dir.UNUSED_DAYS + 1)
    os.utime(foreign, (0, 0))
    forget()
    plus(2)  # a load counts as use
    assert stand(old, used) == [True, True]
    new = plus(3)
    assert stand(old, used, new) == [False, True, True]
    assert foreign.exists()


def test_the_oldest_are_removed_beyond_the_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [plus(n) for n in range(3)]
    for n, kernel in enumerate(kernels):
        age(kernel, 9 - n)
    monkeypatch.setattr(cache_dir, "LARGEST", size(kernels[1]) + size(kernels[2]) + size(kernels[0]) // 2)
    new = plus(3)
    assert stand(*kernels, new) == [False, False, True, True]


def size(loaded: Loaded) -> int:
    assert loaded.file
    return sum(path.stat().st_size for path in loaded.file.parent.rglob(f"{loaded.file.stem}*"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"OSTINATO_CACHE": "/a"}, "/a/kernels"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/ostinato/kernels"),
        ({"XDG_CACHE_HOME": "x"}, "/h/.cache/ostinato/kernels"),
        ({}, "/h/.cache/ostinato/kernels"),
    ],
)
def test_where_it_lies(given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OSTINATO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/h")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cache_dir.directory() == Path(expected)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("darwin", "/h/Library/Caches/ostinato/kernels"), ("win32", "/local/ostinato/kernels")],
)
def test_where_it_lies_on_other_systems(platform: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTINATO_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_dir.directory() == Path(expected)
