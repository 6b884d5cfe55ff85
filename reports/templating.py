"""Jinja2 for Markdown: templates of this package, with tables and words made safe."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.tables import compact, escape


@cache
def templates() -> Environment:
    """The environment. Filters: `markdown` (a frame as a table, None as nothing), `escaped` (words)."""
    found = Environment(
        loader=PackageLoader("reports"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    found.filters["markdown"] = lambda table: "" if table is None else compact(table)
    found.filters["escaped"] = escape
    return found
