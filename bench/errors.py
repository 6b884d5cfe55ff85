"""What can go wrong, by whose hand.

BenchError                 printed as one line, without a traceback
├── UsageError             exit code 2: unknown name, axis or value, a refused size, no such device
│   └── RecordsError       an unreadable, truncated or foreign records file
└── Skip                   raised by a metric that does not apply to a case; its Value says why
"""

import sysconfig
import traceback
from pathlib import Path

users_code: set[Path] = set()  # folders of plugins: errors name the line of theirs that raised
_OTHERS = tuple(
    [str(Path(path)) for path in {*sysconfig.get_paths().values()}]
    + [str(Path(__file__).parent.parent / name) for name in ("bench", "models", "reports", "run_bench.py")]
)


class BenchError(Exception):
    """An error whose message is meant for the person at the command line."""


class UsageError(BenchError):
    """What was asked for cannot be done as asked; the message names what is allowed."""


class RecordsError(UsageError):
    """A records file cannot be read as one."""


class Skip(BenchError):
    """A metric does not apply to this case; the message is the reason."""


def one_line(error: BaseException) -> str:
    """`error` as one line of text: its type, unless the message is ours, the first line of what it says, and the
    place where a plugin raised it."""
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, BenchError):
        return message
    return (f"{type(error).__name__}: {message}" if message else type(error).__name__) + place(error)


def place(error: BaseException) -> str:
    """` (file.py:12)`: the innermost line of a plugin that the error went through; empty if none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _is_users(file: str) -> bool:
    return not file.startswith(_OTHERS) and any(Path(file).is_relative_to(folder) for folder in users_code)
