"""The claims ledger: every published number beside ours, with a verdict.

    claims/*.csv ──claim──> [Claim] ──sorting──> [Check | Context | Untested] ──judging, frame──> [Row] ──ledger──> text

`units`, `quantities`, `models`, `relations` and `reasons` are tables of one idea each, data alone; `hardware` reads
what a claim says of its machine, `planning` says what to measure.
"""
