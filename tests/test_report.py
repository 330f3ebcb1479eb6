"""The page of results: whole without a network, true to its files, at home in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the report needs Jinja2")
pytest.importorskip("matplotlib", reason="the report needs Matplotlib")

from benchmarks.__main__ import PROGRAMS
from benchmarks.__main__ import main as program
from benchmarks.report.collect import KINDS, collected
from benchmarks.report.page import main

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MOST_BYTES = 5_000_000
GZIP = "data:application/gzip;base64,"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the results that are recorded here."""
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["--out", str(path)]) == 0
    return path


class Seen(HTMLParser):
    """Identifiers, links, tags and the depth of what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        if found.get("id"):
            self.ids[str(found["id"])] += 1
        for name in ("href", "src", "xlink:href"):
            if found.get(name):
                self.links.append((str(found[name]), found))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def seen(page: Path) -> Seen:
    found = Seen()
    found.feed(page.read_text(encoding="utf-8"))
    assert found.open == []
    return found


def test_it_is_small_and_needs_no_network(page: Path, seen: Seen) -> None:
    assert page.stat().st_size < MOST_BYTES
    for link, _ in seen.links:
        assert link.startswith(("#", "data:")), link
    styles = re.findall(r"(?:url\(|@import)[^;]*", page.read_text(encoding="utf-8"))
    assert all(one.startswith("url(#") for one in styles)


def test_identifiers_are_unique_and_links_lead_somewhere(seen: Seen) -> None:
    assert [name for name, count in seen.ids.items() if count > 1] == []
    inside = {link[1:] for link, _ in seen.links if link.startswith("#")}
    assert inside <= set(seen.ids)


def test_every_machine_and_every_ladder_is_there(page: Path, seen: Seen) -> None:
    machines, left_out = collected(RESULTS)
    assert left_out == []
    assert {machine.name for machine in machines} == {
        path.parent.name for path in RESULTS.glob("*/*.json")
    }
    assert {machine.name for machine in machines} <= set(seen.ids)
    ladders = sum(
        len(report["ladders"])
        for machine in machines
        for report in machine.of_kind("ladders").values()
    )
    assert ladders >= 8
    assert seen.tags["svg"] == 3 * ladders
    assert (
        page.read_text(encoding="utf-8").count('role="img" aria-label="') == 3 * ladders
    )


def test_raw_results_are_in_the_page(seen: Seen) -> None:
    packed = {
        str(found["download"]): link
        for link, found in seen.links
        if "download" in found
    }
    files = [*RESULTS.glob("*/*.json")]
    assert len(files) > 15
    for path in files:
        link = packed[f"{path.parent.name}-{path.name}.gz"]
        assert link.startswith(GZIP)
        raw = gzip.decompress(base64.b64decode(link[len(GZIP) :]))
        assert raw == path.read_bytes()


def test_tables_are_json_behind_their_links(seen: Seen) -> None:
    links = [
        link
        for link, found in seen.links
        if str(found.get("download", "")).endswith(".json.gz")
        and "-" not in str(found["download"])
    ]
    assert links
    for link in links:
        text = gzip.decompress(base64.b64decode(link[len(GZIP) :])).decode()
        table = json.loads(text, parse_constant=pytest.fail)
        assert table["rows"]


def test_tables_show_the_numbers_of_their_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    machines, _ = collected(RESULTS)
    (gpu,) = (one for one in machines if one.name == "nvidia-h200")
    told = next(iter(gpu.files["ladders.json"]["ladders"].values()))
    for rung in told["rungs"]:
        if "warm" in rung:
            assert f'data-key="{rung["warm"]["median_us"]}"' in text
    assert "How often the model holds" in text


# ---- what cannot be read --------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A small folder of results: one GPU's ladders."""
    folder = tmp_path / "results" / "nvidia-h200"
    folder.mkdir(parents=True)
    report = json.loads((RESULTS / "nvidia-h200" / "ladders.json").read_text())
    name = next(iter(report["ladders"]))
    report["ladders"] = {name: report["ladders"][name]}
    (folder / "ladders.json").write_text(json.dumps(report))
    return folder.parent


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"machine": {}, "suites": {"3x3": {"ca', "no whole JSON"),
        (b"", "no whole JSON"),
        (b'{"name": "another"}', "has no 'suites'"),
        (b"[1, 2]", "has no 'suites'"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'{"suites": {"3x3": {}}}', "is not as pyconv writes it"),
        (b'{"suites": {"a": 1}}', "is not as pyconv writes it"),
        (b'{"machine": {"cpu": "x"}, "suites": {"a": []}}', "is not as pyconv"),
    ],
    ids=["half", "empty", "foreign", "list", "binary", "inside", "number", "machine"],
)
def test_what_cannot_be_read_is_named_and_the_rest_shown(
    content: bytes, said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "nvidia-h200" / "suites-threads2.json").write_bytes(content)
    out = results.parent / "page.html"
    assert main(["--results", str(results), "--out", str(out)]) == 0
    error = capsys.readouterr().err
    assert "nvidia-h200/suites-threads2.json is left out: it " in error
    assert said in error
    assert error.count("\n") == 1
    text = out.read_text(encoding="utf-8")
    assert "nvidia-h200/suites-threads2.json" in text
    assert text.count("<svg") == 3


def test_every_kind_of_file_survives_a_wrong_inside(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, key in KINDS.items():
        path = results / "nvidia-h200" / f"{kind}-wrong.json"
        path.write_text(json.dumps({key: {"a": {"b": [{}]}}}))
    out = results.parent / "page.html"
    assert main(["--results", str(results), "--out", str(out)]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert out.read_text(encoding="utf-8").count("<svg") == 3


def test_nothing_to_show_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    for results in (tmp_path, tmp_path / "missing"):
        assert main(["--results", str(results), "--out", str(out)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_names_are_escaped(results: Path) -> None:
    path = results / "nvidia-h200" / "ladders.json"
    report = json.loads(path.read_text())
    (told,) = report["ladders"].values()
    report["machine"]["gpu"] = "<script>alert(1)</script>"
    report["ladders"] = {'a "quoted" <b>name</b>': told}
    path.write_text(json.dumps(report))
    out = results.parent / "page.html"
    assert main(["--results", str(results), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>name" not in text


def test_programs_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert program(["nothing"]) == 2
    error = capsys.readouterr().err
    assert "there is no 'nothing'" in error
    for name in PROGRAMS:
        assert f"  {name} " in error
    for module, _ in PROGRAMS.values():
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    with pytest.raises(SystemExit) as stopped:
        program(["report", "--help"])
    assert stopped.value.code == 0


# ---- in a browser ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    """Headless Chromium with the page open."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium and ChromeDriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,1000",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    opened.get(page.as_uri())
    yield opened
    opened.quit()


def open_table(browser: Any) -> Any:
    """The first table of a ladder, which is open from the start."""
    return browser.find_element("css selector", "details[open] table.sortable")


def column(table: Any, place: int) -> list[str]:
    return [
        str(row.find_elements("tag name", "td")[place].get_attribute("data-key"))
        for row in table.find_elements("css selector", "tbody tr")
    ]


def test_the_console_is_silent_and_figures_are_seen(browser: Any) -> None:
    assert browser.get_log("browser") == []
    figure = browser.find_element("css selector", "details[open] figure svg")
    assert figure.size["width"] > 300
    assert figure.size["height"] > 100


def test_columns_sort_by_click_and_by_key(browser: Any) -> None:
    table = open_table(browser)
    before = [float(value) for value in column(table, 1)]
    heads = table.find_elements("css selector", "th button")
    heads[1].click()
    assert [float(value) for value in column(table, 1)] == sorted(before)
    head = table.find_elements("css selector", "th")[1]
    assert head.get_attribute("aria-sort") == "ascending"
    heads[1].send_keys("\ue007")  # enter
    assert [float(value) for value in column(table, 1)] == sorted(before)[::-1]
    assert head.get_attribute("aria-sort") == "descending"


def test_dashes_come_last_either_way(browser: Any) -> None:
    browser.execute_script(
        "for (const one of document.querySelectorAll('details')) one.open = true;"
    )
    (table, place) = browser.execute_script(
        "for (const cell of document.querySelectorAll('td[data-none]')) {"
        "  const table = cell.closest('table');"
        "  const place = cell.cellIndex;"
        "  const keys = [...table.tBodies[0].rows].map(r => r.cells[place].dataset);"
        "  if (keys.some(k => 'key' in k)) return [table, place];"
        "}"
    )
    button = table.find_elements("css selector", "th button")[place]
    for turn in (1, -1):
        browser.execute_script("arguments[0].click()", button)
        keys = column(table, place)
        numbers = [float(key) for key in keys if key != "None"]
        assert keys[len(numbers) :] == ["None"] * (len(keys) - len(numbers))
        assert numbers == sorted(numbers)[::turn]
    browser.refresh()


def test_the_keyboard_reaches_everything(browser: Any) -> None:
    """Tab goes from the skip link over links and buttons to what is folded away."""
    browser.refresh()
    reached = set()
    for _ in range(14):
        browser.switch_to.active_element.send_keys("\ue004")  # tab
        reached.add(browser.switch_to.active_element.tag_name)
    assert {"a", "button", "summary"} <= reached


def test_light_and_dark(browser: Any) -> None:
    def colours() -> list[str]:
        found: list[str] = browser.execute_script(
            "const s = getComputedStyle(document.body);"
            "const t = document.querySelector('details[open] svg text');"
            "return [s.backgroundColor, s.color, getComputedStyle(t).fill];"
        )
        return found

    before = colours()
    browser.find_element("id", "theme").click()
    after = colours()
    assert all(a != b for a, b in zip(before, after, strict=True))
    browser.find_element("id", "theme").click()
    assert colours() == before


def test_a_phone_shows_it_without_scrolling_sideways(browser: Any) -> None:
    browser.set_window_size(500, 900)  # the least Chromium grants
    wide, window = browser.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth]"
    )
    browser.set_window_size(1280, 1000)
    assert wide <= window


def test_a_screenshot_is_not_empty(browser: Any) -> None:
    picture = browser.get_screenshot_as_png()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
