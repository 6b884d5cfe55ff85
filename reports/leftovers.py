"""Files that an earlier report wrote into the folder and this one does not: removed, where they surely are ours."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

LIST = "written.json"  # file name -> SHA-256 of what a report wrote


def note(folder: Path, names: Iterable[str]) -> None:
    """Remember the files `names`, just written into `folder`; remove those that were noted there before and aren't now.

    A file that was changed since it was written, or that no list names, belongs to somebody else and stays.
    """
    written = {name: _digest(folder / name) for name in sorted(names)}
    for name, digest in _noted(folder).items():
        path = folder / name
        ours = name not in written and path.name == name and path.is_file() and not path.is_symlink()
        if ours and _digest(path) == digest:
            path.unlink()
    (folder / LIST).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def _noted(folder: Path) -> dict[str, object]:
    """What an earlier report noted; nothing where the list is not there, or isn't one."""
    try:
        noted = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
