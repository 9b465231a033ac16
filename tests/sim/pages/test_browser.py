"""The page in a real browser: it draws, sorts, filters, answers mouse and keyboard, and asks nothing of any network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import sim

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,1400",
)  # fmt: skip
HOSTILE = "</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"
Chrome = webdriver.Chrome


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a window; where there is none the tests are skipped, except in the pipeline."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


def table() -> pd.DataFrame:
    """Five points: two on the front, two dominated, one that does not fit."""
    frame = pd.DataFrame(
        {
            "on": ["b", "a", "b", "c", "a"], "seconds": [2.0, 1.0, 3.0, 2.5, np.nan], "usd": [4.0, 9.0, 5.0, 10.0, 1.0],
            "batch": [10, 9, 100, 1, 2],
        }
    )  # fmt: skip
    frame.attrs["units"] = {"seconds": "s", "usd": "USD/h"}
    return frame


def show(browser: Chrome, path: Path, frame: pd.DataFrame, **asked: object) -> None:
    """Open the frame's page; what was logged before is forgotten."""
    browser.get("about:blank")
    logged(browser)
    browser.get(sim.report(frame, path / "page.html", **asked).as_uri())  # type: ignore[arg-type]
    WebDriverWait(browser, 20).until(
        drawn
    )  # on a loaded machine the driver may come back before a large page's script ran


def drawn(browser: Chrome) -> bool:
    """Whether the page's script has come to its end, or to its first error."""
    return any(one.text for one in browser.find_elements(By.ID, "count"))


def logged(browser: Chrome) -> tuple[list[str], list[str]]:
    """Lines of the console, and addresses asked for that are not the page's own, since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [e["message"] for e in browser.get_log("browser")], [u for u in urls if not u.startswith(("file:", "data:"))]


def column(browser: Chrome, name: str) -> list[str]:
    """The cells in sight of a column."""
    names = [th.get_attribute("data-column") for th in browser.find_elements(By.CSS_SELECTOR, "th")]
    cells = browser.find_elements(By.CSS_SELECTOR, f"tr.row td:nth-child({names.index(name) + 1})")
    return [cell.text for cell in cells]


def click(browser: Chrome, name: str) -> str | None:
    """Click a heading; how the column then says it is sorted."""
    heading = browser.find_element(By.CSS_SELECTOR, f"th[data-column='{name}']")
    heading.find_element(By.TAG_NAME, "button").click()
    return heading.get_attribute("aria-sort")


def tip(browser: Chrome) -> dict[str, str]:
    """What is said of the point under the mouse or in focus."""
    names, values = (browser.find_elements(By.CSS_SELECTOR, f"#tip {tag}") for tag in ("dt", "dd"))
    return {a.text: b.text for a, b in zip(names, values, strict=True)} if names and names[0].is_displayed() else {}


def front(browser: Chrome) -> list[int]:
    found = browser.find_elements(By.CSS_SELECTOR, ".point.front")
    return sorted(int(point.get_attribute("data-row") or -1) for point in found)


def test_it_draws_without_an_error_or_a_request(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), title="Five points", x="seconds", y="usd")
    assert browser.title == "Five points"
    assert browser.find_element(By.TAG_NAME, "h1").text == "Five points"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".point")) == 4
    assert front(browser) == [0, 1]
    assert "2 of 4 points. 1 rows have no value" in browser.find_element(By.ID, "caption").text
    headings = [button.text for button in browser.find_elements(By.CSS_SELECTOR, "th button")]
    assert headings == ["on", "seconds (s)", "usd (USD/h)", "batch"]
    assert logged(browser) == ([], [])


def test_these_tests_would_see_an_error_and_a_request(browser: Chrome, tmp_path: Path) -> None:
    path = tmp_path / "other.html"
    path.write_text("<img src=http://127.0.0.1:9/x><script>throw new Error('seen')</script>", encoding="utf-8")
    logged(browser)
    browser.get(path.as_uri())
    console, urls = logged(browser)
    assert [line for line in console if "seen" in line]
    assert urls == ["http://127.0.0.1:9/x"]


def test_a_heading_sorts_up_down_and_as_given(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    assert click(browser, "batch") == "ascending"
    assert column(browser, "batch") == ["1", "2", "9", "10", "100"]  # as numbers, not as text
    assert click(browser, "batch") == "descending"
    assert column(browser, "batch") == ["100", "10", "9", "2", "1"]
    assert click(browser, "batch") == "none"
    assert column(browser, "batch") == ["10", "9", "100", "1", "2"]
    for way in ("ascending", "descending"):
        assert click(browser, "seconds") == way
        assert column(browser, "seconds")[-1] == ""  # what has no value comes last
    click(browser, "on")
    assert column(browser, "on") == ["a", "a", "b", "b", "c"]


@pytest.mark.parametrize(
    ("name", "wanted", "rows"),
    [("on", "A", "9 2"), ("batch", ">=10", "10 100"), ("batch", "2..9", "9 2"), ("batch", "=1", "1"), ("usd", "9", "9"),
     ("on", "nothing", ""), ("seconds", "<2.5", "10 9")],
)  # fmt: skip
def test_a_filter_leaves_what_it_asks_for(browser: Chrome, tmp_path: Path, name: str, wanted: str, rows: str) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    browser.find_element(By.CSS_SELECTOR, f"th[data-column='{name}'] input").send_keys(wanted)
    left = rows.split()
    WebDriverWait(browser, 20).until(lambda b: f"{len(left)} of 5 rows" in b.find_element(By.ID, "count").text)
    assert column(browser, "batch") == left
    browser.find_element(By.ID, "clear").click()
    assert len(column(browser, "batch")) == 5
    assert logged(browser)[0] == []


def test_the_mouse_shows_a_point(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    assert tip(browser) == {}
    point = browser.find_element(By.CSS_SELECTOR, ".point[data-row='2']")
    ActionChains(browser).move_to_element(point).perform()
    assert tip(browser) == {"on": "b", "seconds": "3 s", "usd": "5 USD/h", "batch": "100"}
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert tip(browser) == {}


def test_the_keyboard_walks_along_the_front_and_all_points(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    browser.execute_script("document.getElementById('colour').focus()")  # type: ignore[no-untyped-call]
    press(browser, Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "scatter"
    assert tip(browser)["batch"] == "9"  # the leftmost of the front
    press(browser, Keys.ARROW_RIGHT)
    assert tip(browser)["batch"] == "10"
    press(browser, Keys.ARROW_RIGHT)
    assert tip(browser)["batch"] == "10"  # the front's end
    press(browser, Keys.ARROW_UP)
    assert tip(browser)["batch"] == "1"
    press(browser, Keys.ENTER)
    assert column(browser, "batch")[3] == "1"
    assert browser.find_element(By.CSS_SELECTOR, "tr.chosen").get_attribute("data-row") == "3"
    press(browser, Keys.ESCAPE)
    assert tip(browser) == {}


def press(browser: Chrome, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def test_axes_directions_colours_and_logarithms_are_chosen(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    Select(browser.find_element(By.ID, "x")).select_by_value("batch")
    assert front(browser) == [3, 4]
    Select(browser.find_element(By.ID, "x-sense")).select_by_visible_text("most is best")
    assert front(browser) == [0, 2, 4]
    Select(browser.find_element(By.ID, "colour")).select_by_value("on")
    browser.find_element(By.ID, "x-log").click()
    fills = {p.value_of_css_property("fill") for p in browser.find_elements(By.CSS_SELECTOR, ".point")}
    assert len(fills) == 3
    assert browser.find_element(By.ID, "legend").text.split() == ["a", "b", "c"]
    assert logged(browser) == ([], [])


@pytest.mark.parametrize(
    "asked", [{"minimise": ["p", "q"]}, {"minimise": ["p"], "maximise": ["q", "r"]}, {"maximise": "r"}]
)
def test_the_front_is_that_of_sim_pareto(browser: Chrome, tmp_path: Path, asked: dict[str, list[str]]) -> None:
    values = np.random.default_rng(3).integers(0, 12, (300, 3))  # few values: many ties
    frame = pd.DataFrame(values, columns=["p", "q", "r"])
    show(browser, tmp_path, frame, x="p", y="q", **asked)
    assert front(browser) == sim.pareto(frame, **asked).index.tolist()


def test_a_hundred_thousand_rows_are_a_window_of_them(browser: Chrome, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": rng.permutation(100_000), "cost": rng.random(100_000), "time": rng.random(100_000)})
    show(browser, tmp_path, frame, x="cost", y="time", minimise=["cost", "time"])
    assert front(browser) == sim.pareto(frame, ["cost", "time"]).index.tolist()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".point")) == 3000
    assert "3,000" not in browser.find_element(By.ID, "count").text
    click(browser, "id")
    assert column(browser, "id")[:2] == ["0", "1"]
    browser.execute_script("const w = document.getElementById('window'); w.scrollTop = w.scrollHeight")  # type: ignore[no-untyped-call]
    WebDriverWait(browser, 20).until(lambda b: "99,999" in column(b, "id"))
    assert len(browser.find_elements(By.CSS_SELECTOR, "tr.row")) < 100
    assert logged(browser) == ([], [])


def test_hostile_text_is_text(browser: Chrome, tmp_path: Path) -> None:
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "b"], "__proto__": [1, 2], "constructor": [2, 1], "q'\"\\": ["'", '"']})
    frame.attrs["units"] = {"__proto__": HOSTILE}
    frame.attrs["manifest"] = {HOSTILE: HOSTILE}
    show(browser, tmp_path, frame, title=HOSTILE, x="__proto__", y="constructor", inputs={"a": HOSTILE})
    assert browser.title == HOSTILE
    Select(browser.find_element(By.ID, "colour")).select_by_value(HOSTILE)
    ActionChains(browser).move_to_element(browser.find_element(By.CSS_SELECTOR, ".point[data-row='0']")).perform()
    assert tip(browser)[HOSTILE] == HOSTILE
    assert column(browser, HOSTILE) == [HOSTILE, "b"]
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert logged(browser) == ([], [])


def test_a_table_without_numbers_is_a_table(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, pd.DataFrame({"name": ["b", "a"]}))
    assert not browser.find_element(By.ID, "picture").is_displayed()
    click(browser, "name")
    assert column(browser, "name") == ["a", "b"]
    assert logged(browser) == ([], [])


def test_a_picture_that_fails_leaves_the_table(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table(), x="seconds", y="usd")
    script = "Math.log10 = () => { throw new Error('no logarithms today') }"
    browser.execute_script(script)  # type: ignore[no-untyped-call]
    browser.find_element(By.ID, "x-log").click()
    assert "could not be drawn (no logarithms today)" in browser.find_element(By.ID, "caption").text
    assert len(column(browser, "batch")) == 5


def test_no_rows(browser: Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, table().iloc[:0])
    assert column(browser, "batch") == []
    assert logged(browser) == ([], [])


def test_on_paper_all_columns_fit_and_nothing_is_there_to_click(browser: Chrome, tmp_path: Path) -> None:
    wide = table().assign(**{f"a_column_with_a_long_name_{n}": "some words" for n in range(12)})
    show(browser, tmp_path, wide)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        clickable = browser.find_elements(By.CSS_SELECTOR, "select, input, #clear")
        assert [one.tag_name for one in clickable if one.is_displayed()] == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
