"""What a run leaves in its folder: events.jsonl and results.json, read with patience."""

import json
from pathlib import Path
from typing import Any, NamedTuple

Event = dict[str, Any]


class Events(NamedTuple):
    """The lines of events.jsonl."""

    rows: list[Event]
    broken: int  # lines that are no JSON object: a killed run tears the line it was writing


def read_events(path: Path) -> Events:
    """Reads events.jsonl, one JSON object a line. A missing file is a run without events.

    A torn line is skipped and counted wherever it stands: a resumed run writes on behind it.
    """
    if not path.exists():
        return Events([], 0)
    rows, broken = [], 0
    for line in path.read_bytes().split(b"\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken += 1
    return Events(rows, broken)


def read_results(path: Path) -> dict[str, Any]:
    """Reads results.json; a missing file is a run that is not evaluated yet.

    Raises:
        ValueError: the file is not one JSON object.
    """
    if not path.exists():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must hold one JSON object and cannot be read ({error}); evaluate again") from error
    if not isinstance(results, dict):
        raise ValueError(f"{path} must hold one JSON object and holds a {type(results).__name__}; evaluate again")
    return results
