"""report.html: the report's Markdown as one file that needs no network, with tables to sort and a chart to explore."""

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

_ASSETS = files("reports") / "assets"
_SCRIPTS = ("sort.js", "pareto.js", "chart.js", "view.js")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
_NOT_OURS = re.compile(r"<(?!/?(?:details|summary)>)")  # a `<` that begins none of the tags that templates use
_LINKS = re.compile(r"#|https?://|[\w.-]+(?:#[\w-]*)?$")
_WORDS = ("text", "code_inline", "html_inline")
_CHART = "pareto-view"  # the anchor of the heading that the chart stands below
_SHORT = 20  # letters of a cell that is not broken into lines
_OPEN = 12  # a longer list of contents is folded


@dataclass
class _Part:
    """A heading among the contents."""

    title: str
    anchor: str
    parts: list["_Part"] = field(default_factory=list)


def page(markdown: str, folder: Path, pareto: Mapping[str, Any]) -> str:
    """The report as one HTML page that needs nothing beside it.

    markdown: report.md. Of HTML in it <details> and <summary> without attributes count, all else is text. Links go to
    anchors, to files beside the page, and to the web; one of another scheme stays text. Those to files (CSV, SVG) say
    that they lie beside.
    folder: where its pictures lie. Of NAME.png and NAME.svg the smaller is embedded; of a picture that isn't there
    its words are shown.
    pareto: what `reports.pareto.chart` gives; the chart stands below the heading "Pareto view", where there is one.

    A content security policy allows the page's own scripts and style, by their hashes, and nothing from elsewhere.
    """
    parser = _Markdown("commonmark", {"html": True}, renderer_cls=_Renderer).enable("table")
    env = {"folder": folder}
    tokens = parser.parse(markdown, env)
    contents = _number(tokens, chart=bool(pareto["points"]))
    style = _asset("style.css")
    script = '(() => {\n"use strict";\n' + "\n".join(map(_asset, _SCRIPTS)) + "})();\n"
    templates = Templates(loader=PackageLoader("reports", "assets"), undefined=StrictUndefined, autoescape=True)
    return templates.get_template("page.html.j2").render(
        policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
        title=contents.title,
        contents=contents.parts,
        open=_OPEN,
        style=style,
        script=script,
        body=parser.renderer.render(tokens, parser.options, env),
        data=json.dumps(pareto, allow_nan=False).replace("<", "\\u003c"),
    )


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        return bool(_LINKS.match(url))


class _Renderer(RendererHTML):
    """Rules by the names of markdown-it's tokens; env has the `folder` of pictures."""

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _NOT_OURS.sub("&lt;", tokens[idx].content)

    html_inline = html_block

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        image = tokens[idx]
        words = self.renderInlineAsText(image.children, options, env)
        file = _smaller(env["folder"], str(image.attrs["src"]))
        if file is None:
            return super().text([Token("text", "", 0, content=words)], 0, options, env)
        data = b64encode(file.read_bytes()).decode()
        image.attrs = {"src": f"data:{_TYPES[file.suffix]};base64,{data}", "alt": words, "decoding": "async"}
        return self.renderToken(tokens, idx, options, env)

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        href = str(tokens[idx].attrs["href"])
        if not href.startswith(("#", "http")):
            tokens[idx].attrs["title"] = "a file beside this one"
        return self.renderToken(tokens, idx, options, env)

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        around = Token("table_box", "div", 1, attrs={"class": "scroll", "role": "region", "tabindex": 0})
        around.attrs["aria-label"] = tokens[idx].meta["label"]
        return self.renderToken([around], 0, options, env) + "<table>\n"

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</table></div>\n"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        close = self.renderToken(tokens, idx, options, env)
        return close + ('<div class="pareto"></div>\n' if tokens[idx].meta.get("chart") else "")


def _number(tokens: Sequence[Token], chart: bool) -> _Part:
    """Give headings their anchors and tables their labels; returns the contents, the page's title at their top."""
    anchors = Counter[str]()
    top = _Part("", "")
    last = top
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            title = _text(tokens[place + 1])
            last = _Part(title, _anchor(title, anchors))
            token.attrs["id"] = last.anchor
            tokens[place + 2].meta["chart"] = chart and last.anchor == _CHART
            match token.tag:
                case "h1":
                    top.title = top.title or title
                case "h2":
                    top.parts.append(last)
                case "h3" if top.parts:
                    top.parts[-1].parts.append(last)
        elif token.type == "table_open":
            token.meta["label"] = f"Table: {last.title}"
        elif token.type in ("th_open", "td_open"):
            short = len(tokens[place + 1].content) <= _SHORT
            token.attrs = {"class": "short"} if short else {}  # and no style, which the policy does not allow
    return top


def _text(inline: Token) -> str:
    """A heading's words without their marks."""
    return "".join(token.content for token in inline.children or [] if token.type in _WORDS)


def _anchor(title: str, taken: Counter[str]) -> str:
    """GitHub's, so that a link within the report holds in both files."""
    plain = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
    taken[plain] += 1
    return plain if taken[plain] == 1 else f"{plain}-{taken[plain] - 1}"


def _smaller(folder: Path, source: str) -> Path | None:
    """The smaller of a picture's files, where `source` is the name of one in `folder`."""
    if Path(source).name != source or Path(source).suffix not in _TYPES:
        return None
    found = [path for suffix in _TYPES if (path := (folder / source).with_suffix(suffix)).is_file()]
    return min(found, key=lambda path: path.stat().st_size, default=None)


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline script."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
