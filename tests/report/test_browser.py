"""Reports in a real Chromium."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import open_page
from tests.support.studies import HOSTILE, epoch_rows, hostile_study, made_up_study, trial_row, write_study
from tuner import load_study, report
from tuner.errors import printable
from tuner.results.folder import StudyResults

pytestmark = pytest.mark.slow
COMMITTED = Path(__file__).parents[2] / "notebooks" / "results"
TWO = {"objective": [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]}
INK = """canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const drawn = new Set();
    for (let at = 0; at < pixels.length; at += 4)
        if (pixels[at + 3] > 60) drawn.add(pixels.slice(at, at + 3).join());
    return drawn.size;
}"""
"""Number of colours in a canvas."""
POINT = """([name, trial]) => {
    const {view, box} = report.views.get(name), area = box.querySelector('canvas').getBoundingClientRect();
    const place = (mark, x, y) => {
        for (const item of mark.items ?? []) {
            if (item.items) {
                const found = place(item, x + (item.x ?? 0), y + (item.y ?? 0));
                if (found) return found;
            } else if (mark.marktype === 'symbol' && item.datum?.trial === trial) return [x + item.x, y + item.y];
        }
    };
    const [x, y] = place(view.scenegraph().root, view.origin()[0], view.origin()[1]);
    return [area.x + x + view.padding().left, area.y + y + view.padding().top];
}"""
"""Where a trial's point of a figure is in the window."""
Opened = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Opened:
    """Write the page of studies, open it, and wait until its figures are drawn."""

    @contextmanager
    def open_report(*studies: StudyResults, width: int = 1440, dark: bool = False, **extras: Any) -> Iterator[Page]:
        file = tmp_path / "page.html"
        file.write_text(report.page(studies, [report.Extras(**extras)] * len(studies)), encoding="utf-8")
        with open_page(browser, file.as_uri(), width, dark=dark) as page:
            page.evaluate("report.ready")
            yield page

    return open_report


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return made_up_study(tmp_path_factory.mktemp("results") / "small", 40)


def check_drawn(page: Page) -> list[str]:
    """Check that every figure is drawn and fits its place. Return the figures."""
    figures: list[str] = page.evaluate("[...report.views.keys()]")
    for name in figures:
        canvas = page.locator(f"#{name} canvas")
        assert canvas.evaluate(INK) > 3, name
        box = canvas.bounding_box()
        assert box is not None
        assert box["height"] > 100, name
        room = page.locator(f"#{name} figure").evaluate("figure => figure.scrollWidth")  # wider ones are moved sideways
        assert box["width"] <= room + 1, name
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return [name.partition("_")[2] for name in figures]


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_committed_study_is_drawn(opened: Opened, width: int, dark: bool) -> None:
    study = load_study(COMMITTED / "cifar")
    with opened(study, width=width, dark=dark) as page:
        figures = check_drawn(page)
        assert {*figures} >= {"best_by_epochs", "best_by_time", "learning_curves", "parallel", "heat_map", "slice_p6"}
        assert page.title() == "cifar"
        assert "0.8161" in page.locator("#s0_answer").inner_text()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == dark


def two_objectives(folder: Path) -> StudyResults:
    values = [(0.9, 3e5), (0.8, 1e5), (0.85, 4e5), (0.7, 5e4)]
    trials = [trial_row(number, pair[0], values=list(pair)) for number, pair in enumerate(values)]
    epochs = [row for number, pair in enumerate(values) for row in epoch_rows(number, [0.5, pair[0]])]
    return write_study(folder, TWO, trials=trials, epochs=epochs)


def test_front_of_two_objectives_is_drawn(opened: Opened, tmp_path: Path) -> None:
    with opened(two_objectives(tmp_path / "two")) as page:
        assert {*check_drawn(page)} >= {"front_0", "hypervolume"}
        assert page.locator("#s0_board tbody tr").count() == 3


def test_failures_are_listed_with_their_reasons(opened: Opened, tmp_path: Path) -> None:
    row = trial_row(0, state="FAILED", error="CUDA out of memory", error_kind="memory", epochs_run=0)
    with opened(write_study(tmp_path / "failed", {}, trials=[row])) as page:
        check_drawn(page)
        assert page.locator("#s0_failed tbody").inner_text().split("\t")[-1] == "CUDA out of memory"
        assert "No trial is complete yet: 1 failed." in page.locator("#s0_answer").inner_text()


def test_ten_thousand_trials_open_at_once(opened: Opened, tmp_path: Path) -> None:
    with opened(made_up_study(tmp_path / "many", 10_000)) as page:
        check_drawn(page)
        page.locator("#s0_all_trials button.more").click()
        assert page.locator("#s0_all_trials tbody tr").count() == 200
        page.locator("#s0_all_trials tbody tr").first.hover()
        assert page.locator("tr.focus").count() >= 1


def test_tables_sort_by_any_column_and_are_copied(opened: Opened, small: StudyResults) -> None:
    with opened(small) as page:
        table = page.locator("#s0_all_trials")
        head = table.locator("th button", has_text="dropout")

        def values() -> list[float]:
            at = table.locator("th").all_inner_texts().index("dropout")
            return [float(row.locator("td").nth(at).inner_text()) for row in table.locator("tbody tr").all()]

        table.locator("button.more").click()
        head.click()
        ascending = values()
        assert ascending == sorted(ascending)
        assert len(ascending) == 40
        head.click()
        assert values() == ascending[::-1]
        assert table.locator("th[aria-sort=descending]").inner_text() == "dropout"
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        table.get_by_role("button", name="Copy").click()
        table.get_by_role("button", name="Copied").wait_for()
        lines = page.evaluate("navigator.clipboard.readText()").splitlines()
        assert len(lines) == 41
        assert lines[0].split("\t")[:3] == ["trial", "fate", "val_accuracy"]


def test_pointing_at_a_trial_shows_it_elsewhere(opened: Opened, small: StudyResults) -> None:
    trial = int(small.best["number"])
    with opened(small) as page:
        for figure, other in (
            ("s0_slice_p0", "s0_slice_p1"),
            ("s0_best_by_epochs", "s0_best_by_time"),
            ("s0_learning_curves", "s0_learning_curves"),
        ):
            page.locator(f"#{figure}").scroll_into_view_if_needed()
            page.mouse.move(*page.evaluate(POINT, [figure, trial]))
            page.wait_for_function(f"report.views.get('{other}').view.signal('focus') === {trial}")
            tip = page.locator("#tip")
            tip.wait_for(state="visible")
            assert tip.inner_text().startswith(f"trial {trial}")
            assert "learning_rate" in tip.inner_text()
            assert page.locator(f"tr.focus[data-trial='{trial}']").count() >= 1
            page.mouse.move(2, 2)
            page.wait_for_function(f"report.views.get('{other}').view.signal('focus') === null")
            assert tip.is_hidden()


def test_a_clicked_trial_is_kept_in_all_figures(opened: Opened, small: StudyResults) -> None:
    trial = int(small.best["number"])
    with opened(small) as page:
        row = page.locator(f"#s0_board tr[data-trial='{trial}']")
        before = page.locator("#s0_learning_curves canvas").evaluate("canvas => canvas.toDataURL()")
        row.click()
        page.mouse.move(2, 2)
        assert page.locator("#kept").inner_text() == f"trial {trial}"
        for name in page.evaluate("[...report.views.keys()]"):
            page.locator(f"#{name}").scroll_into_view_if_needed()
            page.wait_for_function(f"report.views.get('{name}').view.signal('kept').includes({trial})")
        assert page.locator("#s0_learning_curves canvas").evaluate("canvas => canvas.toDataURL()") != before
        page.keyboard.press("Escape")
        assert page.locator("#kept").is_hidden()
        row.focus()
        page.keyboard.press("Enter")
        assert page.locator("#kept").inner_text() == f"trial {trial}"
        page.locator("#kept .chip").click()
        assert page.locator("#kept").is_hidden()
        assert page.locator("tr.kept").count() == 0


def test_update_redraws_in_place_and_keeps_the_selection(opened: Opened, small: StudyResults, tmp_path: Path) -> None:
    later = made_up_study(tmp_path / "small", 60)
    with opened(small) as page:
        page.locator("#s0_board tr[data-trial='0']").click()
        page.locator("#s0_all_trials th button").first.click()
        page.evaluate("document.querySelector('#s0_slice_p0 canvas').dataset.mark = 'same'")
        page.evaluate("document.querySelector('#s0_question p').dataset.mark = 'same'")
        page.evaluate("data => report.update(data)", json.loads(report.to_json(report.data([later]))))
        assert page.locator("#s0_question p").get_attribute("data-mark") == "same"
        assert page.evaluate("report.views.get('s0_slice_p0').view.data('s0_trials').length") == 60
        assert page.locator("#s0_slice_p0 canvas").get_attribute("data-mark") == "same"
        assert page.locator("#s0_all_trials th[aria-sort=ascending]").count() == 1
        assert page.locator("#s0_all_trials button.more").inner_text() == "Show all 60"
        assert page.locator("#kept").inner_text() == "trial 0"
        check_drawn(page)


def test_update_adds_figures_of_a_study_that_begins(opened: Opened, small: StudyResults, tmp_path: Path) -> None:
    with opened(write_study(tmp_path / "small", {})) as page:
        assert check_drawn(page) == []
        page.evaluate("data => report.update(data)", json.loads(report.to_json(report.data([small]))))
        assert "learning_curves" in check_drawn(page)
        page.evaluate("report.status('10 s ago')")
        assert page.locator("#status").inner_text().startswith("10 s ago")


def test_print_is_light_and_screens_change_with_the_reader(opened: Opened, small: StudyResults) -> None:
    with opened(small, dark=True) as page:
        shade = "report.views.get('s0_learning_curves').view.signal('ink')"
        assert page.evaluate(shade) == "#E4E7EA"
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"{shade} === '#333333'")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{shade} === '#E4E7EA'")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(shade) == "#333333"
        assert len(page.pdf()) > 10_000


def test_hostile_text_is_shown_as_text(opened: Opened, tmp_path: Path) -> None:
    shown = printable(HOSTILE)
    with opened(hostile_study(tmp_path / "<b>demo"), classes=[HOSTILE, "dog"]) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        check_drawn(page)
        assert page.locator("h1").inner_text() == "<b>demo"
        assert page.locator("#s0_failed td").last.inner_text() == shown
        assert page.locator("#s0_classes td").first.inner_text() == shown
        assert page.locator("img, main b").count() == 0
        page.locator("#s0_slice_p0").scroll_into_view_if_needed()
        page.mouse.move(*page.evaluate(POINT, ["s0_slice_p0", 1]))
        page.locator("#tip").wait_for(state="visible")
        assert shown in page.locator("#tip").inner_text()
        assert dialogs == []
