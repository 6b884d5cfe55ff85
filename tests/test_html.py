"""report.html: complete in itself, the same words as the Markdown, and deaf to what names and notes try."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from bench.record import Value
from bench.spec import Spec
from reports import pareto
from reports.frame import latest, to_frame
from reports.html import page
from reports.report import write

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "[x](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "<!-- x",
    "`</code><b>`",
    "</details><details open ontoggle=alert(4)>",
    "<javascript:alert(5)>",
    "](javascript:alert(6)",
    "&lt;script&gt;",
]
NOTHING = {"metrics": [], "families": [], "points": []}


class Tags(HTMLParser):
    """Every tag with its attributes, the text outside of scripts and styles, and what those hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.held, self._within = [], "", {"script": [], "style": []}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within in self.held:
            self.held[self._within].append(data)
        else:
            self.words += data

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def rendered(markdown, folder, chart=NOTHING):
    return Tags(page(markdown, folder, chart))


def harmful(tags):
    """Tags and attributes that could run or fetch anything."""
    return [
        (tag, attrs)
        for tag, attrs in tags
        if tag in ("iframe", "object", "embed", "form", "base", "link")
        or any(name.startswith("on") for name in attrs)
        or "javascript:" in (attrs.get("href") or "")
        or not re.match(r"data:|[\w-]+\.png$", attrs.get("src") or "data:")
    ]


@pytest.fixture
def hostile(records):
    """Records whose names, arguments and notes are all hostile, and of models of every paper, so that all sections
    are there."""
    speed = Value("throughput", "img/s", 2.0, interval=(1.0, 3.0))
    ours = [
        (Spec(model, mode=mode, batch=8, model_args=(("name", words.replace(" ", "")),)), speed, failed, failed_macs)
        for words in HOSTILE
        for failed in [Value("peak_live_bytes", "B", None, status="failed", note=words)]
        for failed_macs in [Value("step_macs", "MAC", None, status="failed", note=words)]
        for model, mode in (
            ("sgformer_s", "infer"),
            ("hmhsa_deit_small", "infer"),
            ("greenmim_swin_tiny", "pretrain"),
            ("esvit_swin_tiny", "pretrain"),
            ("beitv2_mim_base", "pretrain"),
        )
    ]
    plain = [(Spec("sgformer_s"), Value("macs", "MAC", None, status="failed", note=words)) for words in HOSTILE[:1]]
    return records(
        *[
            (
                Spec(f"{words} m{number}", model_args=(("name", words.replace(" ", "")),)),
                Value("throughput", "img/s", 2.0, interval=(1.0, 3.0), note=words),
                Value("macs", "MAC", 1e9),
                Value("latency", "s", None, status="skipped", note=words),
            )
            for number, words in enumerate(HOSTILE)
        ],
        *ours,
        *plain,
    )


def test_nothing_hostile_survives_in_either_file(hostile, tmp_path, unsaved):
    markdown = write(hostile, tmp_path).read_text()
    as_markdown = Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert harmful(as_markdown.tags) == []
    assert {"script", "b"} & {tag for tag, _ in as_markdown.tags} == set()

    found = rendered(markdown, tmp_path, pareto.chart(latest(to_frame(hostile))))
    assert harmful(found.tags) == []
    assert [attrs.get("type") for attrs in found.all("script")] == ["application/json", None]
    assert {"b"} & {tag for tag, _ in found.tags} == set()
    assert json.loads(found.held["script"][0])["points"][0]["model"] == f"{HOSTILE[0]} m0"
    for words in HOSTILE:
        assert words in found.words, words  # shown as it is, and not acted on


def test_nothing_is_fetched_and_only_our_own_scripts_and_style_may_run(tmp_path):
    found = rendered("# T\n\ntext", tmp_path)
    policy = next(attrs["content"] for attrs in found.all("meta") if "http-equiv" in attrs)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    [data, script], [style] = found.held["script"], found.held["style"]
    for rule, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
        assert not re.search(r"url\(|@import|fetch\(|XMLHttp|innerHTML|https?://(?!www\.w3\.org/2000/svg)", text)
    assert json.loads(data) == NOTHING
    assert not any("style" in attrs for _, attrs in found.tags)


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc", "//x.y/z"]
)
def test_a_link_of_another_kind_stays_text(address, tmp_path):
    found = rendered(f"[word]({address})", tmp_path)
    assert found.all("a") == []
    assert f"[word]({address})" in found.words


def test_links_to_anchors_files_and_the_web_hold(tmp_path):
    found = rendered("[a](#b) [c](values.csv) [d](https://example.org/x?y=1)", tmp_path)
    assert [link["href"] for link in found.all("a")] == ["#b", "values.csv", "https://example.org/x?y=1"]
    assert [link.get("title") for link in found.all("a")] == [None, "a file beside this one", None]


def test_of_html_in_markdown_only_details_count(tmp_path):
    found = rendered(
        "<details><summary>more &lt;b&gt;</summary>\n\n**x**\n\n</details>\n\n<b>y</b> <details open>\n\n<!-- z -->",
        tmp_path,
    )
    assert {"details", "summary", "strong"} <= {tag for tag, _ in found.tags}
    assert "b" not in {tag for tag, _ in found.tags}
    assert found.all("details") == [{}]
    for words in ("more <b>", "<b>y</b>", "<details open>", "<!-- z -->"):
        assert words in found.words


@pytest.mark.parametrize(("png", "svg", "kind"), [(9, 5, "image/svg+xml"), (5, 9, "image/png"), (5, None, "image/png")])
def test_the_smaller_of_a_pictures_files_is_embedded(png, svg, kind, tmp_path):
    (tmp_path / "p.png").write_bytes(b"p" * png)
    if svg:
        (tmp_path / "p.svg").write_bytes(b"s" * svg)
    [image] = rendered('![a *b* "c"](p.png)', tmp_path).all("img")
    size = min(filter(None, (png, svg)))
    assert image["src"] == f"data:{kind};base64,{base64.b64encode(kind[6:7].encode() * size).decode()}"
    assert image["alt"] == 'a b "c"'


@pytest.mark.parametrize(
    "source", ["gone.png", "../outside.png", "#/../../outside.png", "https://example.org/p.png", "secret.txt"]
)
def test_a_picture_that_is_not_beside_the_report_is_its_words(source, tmp_path):
    (tmp_path / "report" / "#").mkdir(parents=True)
    for name in ("outside.png", "report/secret.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = rendered(f"![a picture of <b>]({source})", tmp_path / "report")
    assert found.all("img") == []
    assert "a picture of <b>" in found.words


def test_anchors_are_those_of_github_and_make_the_contents(tmp_path):
    found = rendered("# T\n\n## A `b_c`, d: 1.5 x\n\n### Same\n\n## Same\n\n#### Deep\n\n## <i>?", tmp_path)
    anchors = [attrs["id"] for tag, attrs in found.tags if re.fullmatch("h[1-6]", tag)]
    assert anchors == ["t", "a-b_c-d-15-x", "same", "same-1", "deep", "i"]
    assert [link["href"] for link in found.all("a")] == ["#a-b_c-d-15-x", "#same", "#same-1", "#i"]
    assert "T" in found.words


def test_every_link_within_a_report_has_its_place(records, tmp_path, unsaved):
    made = records((Spec("a"), Value("latency", "s", None, status="failed", note="why"), Value("macs", "MAC", 1.0)))
    found = rendered(write(made, tmp_path).read_text(), tmp_path)
    places = {attrs.get("id") for _, attrs in found.tags}
    wanted = {link["href"][1:] for link in found.all("a") if link["href"].startswith("#")}
    assert "skipped-and-failed" in wanted
    assert wanted <= places


def test_a_table_scrolls_in_a_box_that_says_which_it_is(tmp_path):
    words = "two words that are too long to hold"
    found = rendered(f"# T\n\n## Some *results*\n\n|a|b|\n|:--|--:|\n|1|{words}|", tmp_path)
    assert {"class": "scroll", "role": "region", "tabindex": "0", "aria-label": "Table: Some results"} in found.all(
        "div"
    )
    assert found.all("td") == [{"class": "short"}, {}]


def test_the_chart_stands_below_its_heading_where_there_are_points(frame_of, tmp_path):
    chart = pareto.chart(frame_of((Spec("a"), Value("macs", "MAC", 1.0))))
    assert '</h2>\n<div class="pareto"></div>' in page("## Pareto view\n\nx", tmp_path, chart)
    for markdown, data in (("## Other", chart), ("## Pareto view", NOTHING)):
        assert '<div class="pareto">' not in page(markdown, tmp_path, data)


def test_a_real_picture_can_be_read_back(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "p.png")
    [image] = rendered("![x](p.png)", tmp_path).all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == (tmp_path / "p.png").read_bytes()
