"""The records file: JSON Lines, append-only. Measuring writes it, reporting reads it, and they meet nowhere else."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from bench.errors import RecordsError, one_line
from bench.record import Record


def prepare(path: Path) -> list[Record]:
    """Make sure that `path` can be appended to, and return what it holds; raises RecordsError as `read` does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise RecordsError(f"cannot write to {path}: {error.strerror or error}") from error
    return read(path)


def append(path: Path, record: Record) -> None:
    """Write `record` as one line, in one system call, and on to the disk: it is there whole or not at all."""
    line = json.dumps(record.to_dict(), allow_nan=False).encode() + b"\n"
    try:
        with path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if file.write(line) != len(line):
                file.truncate(size)  # a full disk: take the part back, so that the file stays readable
                raise OSError(f"no room for a record of {len(line)} bytes")
            os.fsync(file.fileno())
    except OSError as error:
        raise RecordsError(f"cannot write to {path}: {error.strerror or error}") from error


def read(path: Path) -> list[Record]:
    """All records of the file, in its order.

    Raises RecordsError naming the file and the line: not readable, cut off, or not written by this suite. The file is
    left as it is.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordsError(f"cannot read {path}: {error.strerror or error}") from error
    lines = data.splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            raise RecordsError(
                f"{path}: line {number} is cut off; the {number - 1} records before it are whole. "
                f"Keep those with: head -n {number - 1} {path} > whole.jsonl"
            )
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, or nested beyond reason
            raise RecordsError(f"{path}: line {number} is not a record but {line[:40]!r}") from error
        try:
            records.append(Record.from_dict(content))
        except Exception as error:  # whatever its constructors stumble over, it was not written by `append`
            raise RecordsError(f"{path}: line {number} is not a record of this suite ({one_line(error)})") from error
    return records


def read_all(paths: Iterable[Path]) -> list[Record]:
    """The records of several files. Raises RecordsError as `read` does, and where there is none at all."""
    paths = list(paths)
    records = [record for path in paths for record in read(path)]
    if not records:
        raise RecordsError(f"no records in {', '.join(map(str, paths)) or 'no file'}; `run_bench.py run` writes them")
    return records
