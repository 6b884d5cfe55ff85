"""What can go wrong, by whose hand.

BenchError                 printed as one line, without a traceback
├── UsageError             exit code 2: unknown name, axis or value, a refused size, no such device
│   └── RecordsError       an unreadable, truncated or foreign records file
└── Skip                   raised by a metric that does not apply to a case; its Value says why
"""


class BenchError(Exception):
    """An error whose message is meant for the person at the command line."""


class UsageError(BenchError):
    """What was asked for cannot be done as asked; the message names what is allowed."""


class RecordsError(UsageError):
    """A records file cannot be read as one."""


class Skip(BenchError):
    """A metric does not apply to this case; the message is the reason."""


def one_line(error: BaseException) -> str:
    """`error` as one line of text: its type, unless the message is ours, and the first line of what it says."""
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, BenchError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
