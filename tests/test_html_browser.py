"""report.html in a real browser: its policy lets its own scripts run, tables sort, and the chart agrees with Python."""

import html
import json
import re
import shutil
import subprocess

import pytest

from bench.record import Value
from bench.spec import Spec
from reports import pareto
from reports.html import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")

HOSTILE = "<img src=x onerror=alert(1)>"
COLUMNS = {
    "name": ["b10", "b9", "-", "a"],
    "number": ["1,234 ±2.0%", "-", "~17 [1]", "0.26x (0.23 to 0.28)"],
    "change": ["-18.15 %", "+2 %", "skipped", "\u221220 %"],
    "mixed": ["22.55 ✗", "about", "3", "failed"],
}
# What a reader would do, and what is then seen.
DRIVER = """<script>
const seen = { sorted: {}, beaten: {} };
const [table] = document.querySelectorAll("table");
[...table.tHead.rows[0].cells].forEach((heading, column) => {
  seen.sorted[heading.textContent] = [1, 2, 3].map(() => {
    heading.querySelector("button").click();
    const rows = [...table.tBodies[0].rows];
    return [heading.getAttribute("aria-sort"), ...rows.map((row) => row.cells[column].textContent)];
  });
});
const [setting, across, up] = document.querySelectorAll(".choices select");
const turn = (select, index) => {
  select.selectedIndex = index;
  select.dispatchEvent(new Event("change"));
};
const names = (marks) => [...marks].map((one) => one.getAttribute("aria-label").split(",")[0]).sort();
for (let x = 0; x < across.length; x += 1) {
  for (let y = 0; y < up.length; y += 1) {
    turn(across, x);
    turn(up, y);
    seen.beaten[`${x} ${y}`] = names(document.querySelectorAll(".plot .beaten"));
  }
}
turn(across, 4);
turn(up, 0);
const first = document.querySelector(".plot .point:not(.beaten)");
first.focus();
seen.tooltip = document.querySelector(".tooltip").innerText;
first.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
seen.hidden = document.querySelector(".tooltip").hidden;
seen.missing = document.querySelector(".pareto details").textContent;
seen.settings = [...setting].map((one) => one.text);
seen.images = document.images.length;
document.body.replaceChildren(JSON.stringify(seen));
</script>"""


def opened(text, folder):
    """What Chromium makes of a page, as HTML."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    words += ["--virtual-time-budget=2000", "--dump-dom", (folder / "page.html").as_uri()]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture
def chart(frame_of):
    """Models better in one thing and worse in another, one without MACs."""
    numbers = [(9, 4, 5), (7, 2, 6), (7, 2, 6), (5, 3, 1), (1, 9, 9), (8, 5, 2), (8, 4, 9)]
    cells = [
        (
            Spec(f"m{number}"),
            Value("throughput", "img/s", float(speed), interval=(speed - 0.5, speed + 0.5)),
            Value("macs", "MAC", macs * 1e9),
            Value("peak_live_bytes", "B", memory * 2**20),
        )
        for number, (speed, macs, memory) in enumerate(numbers)
    ]
    other = (
        Spec(HOSTILE),
        Value("throughput", "img/s", 3.0),
        Value("macs", "MAC", None, status="skipped", note=HOSTILE),
    )
    return pareto.chart(frame_of(*cells, other, (Spec("m0", batch=8), Value("throughput", "img/s", 99.0))))


@pytest.fixture
def text(chart, tmp_path):
    rows = [" | ".join(row) for row in zip(*COLUMNS.values(), strict=True)]
    table = "\n".join(f"| {row} |" for row in (" | ".join(COLUMNS), " | ".join(":--" for _ in COLUMNS), *rows))
    return page(f"# T\n\n{table}\n\n## Pareto view\n\ntext", tmp_path, chart)


def test_the_policy_lets_the_pages_own_scripts_run(text, tmp_path):
    dom = opened(text, tmp_path)
    assert dom.count('class="point beaten"') + len(re.findall('<g class="point family-', dom)) == 7
    assert dom.count("<button") == len(COLUMNS)
    assert "<script>alert" not in dom


def test_what_a_reader_sees(text, chart, tmp_path):
    without_policy = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    dom = opened(without_policy.replace("</body>", f"{DRIVER}</body>"), tmp_path)
    seen = json.loads(html.unescape(re.search("<body>(.*)</body>", dom, re.DOTALL)[1]))

    orders = {
        "name": (["a", "b9", "b10", "-"], ["b10", "b9", "a", "-"]),
        "number": (
            ["0.26x (0.23 to 0.28)", "~17 [1]", "1,234 ±2.0%", "-"],
            ["1,234 ±2.0%", "~17 [1]", "0.26x (0.23 to 0.28)", "-"],
        ),
        "change": (["\u221220 %", "-18.15 %", "+2 %", "skipped"], ["+2 %", "-18.15 %", "\u221220 %", "skipped"]),
        "mixed": (["3", "22.55 ✗", "about", "failed"], ["22.55 ✗", "3", "about", "failed"]),
    }
    for name, (up, down) in orders.items():
        assert seen["sorted"][name] == [["ascending", *up], ["descending", *down], ["none", *COLUMNS[name]]]

    own = [point for point in chart["points"] if point["words"].endswith("batch 1")]
    for i, x in enumerate(pareto.METRICS):
        for j, y in enumerate(pareto.METRICS):
            drawn = [point for point in own if {x.key, y.key} <= point["metrics"].keys()]
            pairs = [tuple(point["metrics"][one.key]["value"] for one in (x, y)) for point in drawn]
            worse = pareto.dominated(pairs, x.more, y.more)
            names = sorted(point["name"] for point, beaten in zip(drawn, worse, strict=True) if beaten)
            assert seen["beaten"][f"{i} {j}"] == names, (x.key, y.key)
    assert seen["beaten"]["4 0"] == ["m3", "m4", "m5", "m6"]

    assert seen["tooltip"].startswith("m0\n\nother models; infer on cpu, 224 px, batch 1; on the front")
    assert re.search(r"throughput \(img/s\)\s+9\.00 \(8\.50 to 9\.50\)", seen["tooltip"])
    assert re.search(r"MACs of one image \(GMACs\)\s+4\.000", seen["tooltip"])
    assert re.search(r"latency \(ms\)\s+- \(not asked for\)", seen["tooltip"])
    assert seen["hidden"]
    assert seen["missing"] == f"1 not drawn{HOSTILE}: MACs of one image (GMACs): skipped: {HOSTILE}"
    assert seen["settings"] == ["infer on cpu, 224 px, batch 1 (8)", "infer on cpu, 224 px, batch 8 (1)"]
    assert seen["images"] == 0
