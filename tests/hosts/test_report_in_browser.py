"""Pages of reports in a real browser: what it refuses, what axe-core finds, on four widths, with strange names.

They need Chromium, node, and two packages of npm: ``npm install --prefix tests/hosts/browser``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.reports.page.content import page_of
from mlm_ops.reports.pictures.words import shown
from tests.reports.pages import HOSTILE, hostile
from tests.reports.stores import CASES, write_store

HERE = Path(__file__).parent / "browser"
#: Another folder with the packages may be named, such as one that several checkouts share.
MODULES = Path(os.environ.get("MLM_BROWSER_MODULES", HERE))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _missing() -> str:
    """What is not here of all that is needed."""
    wanted = {"Chromium": CHROMIUM, "node": shutil.which("node")}
    absent = [name for name, path in wanted.items() if path is None]
    packages = [name for name in ("puppeteer-core", "axe-core") if not (MODULES / "node_modules" / name).is_dir()]
    absent += [f"the npm package {name}" for name in packages]
    how = " (npm install --prefix tests/hosts/browser)" if packages else ""
    return f"looking at pages needs {', '.join(absent)}{how}" if absent else ""


pytestmark = [pytest.mark.hosts, pytest.mark.skipif(bool(_missing()), reason=_missing() or "nothing is missing")]


def looked_at(pages: list[Path], *options: str) -> list[dict[str, Any]]:
    """What the browser made of each page."""
    command = ["node", str(HERE / "look.mjs"), str(CHROMIUM), str(MODULES), *map(str, pages), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return read_latest_results(write_store(tmp_path_factory.mktemp("hsb"), *CASES["hsb"]).path)


@pytest.fixture(scope="module")
def hsb(tables, folder) -> dict[str, Any]:
    """The page of the shipped analysis."""
    path = folder / "hsb.html"
    path.write_text(page_of(tables).html)
    return looked_at([path])[0]


@pytest.fixture(scope="module")
def strange(tables, folder) -> list[dict[str, Any]]:
    """Pages with strange names, each name in several places."""
    paths = [folder / f"strange-{first}.html" for first in range(0, len(HOSTILE), 8)]
    for place, path in enumerate(paths):
        path.write_text(page_of(hostile(tables, 8 * place)).html)
    return looked_at(paths, "--quick")


@pytest.fixture(scope="module")
def others(folder, tmp_path_factory) -> list[dict[str, Any]]:
    """The pages of other kinds of analyses."""
    paths = []
    for case in ("three_level", "crossed", "structural"):
        store = write_store(tmp_path_factory.mktemp(case), *CASES[case])
        paths.append(folder / f"{case}.html")
        paths[-1].write_text(page_of(read_latest_results(store.path)).html)
    return looked_at(paths)


def test_the_page_is_allowed_all_that_it_holds(hsb):
    """The content security policy refuses nothing, and nothing is asked of a network."""
    assert (hsb["console"], hsb["requests"], hsb["dialogs"]) == ([], [], [])
    assert (hsb["scripts"], hsb["images"], hsb["handlers"], hsb["duplicates"]) == (1, 0, 0, 0)


def test_axe_finds_nothing(hsb, others):
    assert [fault for page in (hsb, *others) for fault in page["axe"]] == []


def test_no_width_is_too_narrow(hsb, others, strange):
    for page in (hsb, *others, *strange):
        assert all(over <= 0 for over in page["overflow"].values()), page["file"]


def test_texts_can_be_read_on_a_phone(hsb):
    assert all(hsb["texts"][width]["least"] >= 11 for width in ("1280", "768", "390", "320"))


def test_no_texts_of_a_picture_lie_upon_each_other(hsb, others):
    for page in (hsb, *others):
        assert page["texts"]["1280"] | {"least": 0} == {"overlaps": [], "least": 0, "cut": []}, page["file"]


def test_columns_end_nearly_together_and_no_card_has_a_gap(hsb, others):
    for page in (hsb, *others):
        assert (page["halves"], page["gaps"]) == ([], []), page["file"]


def test_the_finder_lights_a_unit(hsb):
    assert hsb["lit"]["pictures"] >= 4
    assert hsb["lit"]["told"] == f"in {hsb['lit']['pictures']} pictures"
    assert hsb["lit"]["hidden"] is False


def test_the_page_reads_the_same_without_its_script(hsb):
    assert hsb["still"] == hsb["text"]
    assert hsb["drawings"] == hsb["figures"] >= 20


def test_it_is_printed_on_few_sheets(hsb):
    assert 3 <= hsb["sheets"] <= 12


def test_names_do_nothing(strange):
    for page in strange:
        assert (page["console"], page["requests"], page["dialogs"]) == ([], [], []), page["file"]
        assert (page["scripts"], page["images"], page["handlers"], page["duplicates"]) == (1, 0, 0, 0)
        text = " ".join(page["text"].split())
        assert [name for name in HOSTILE if shown(name) not in text and shown(name) != "(empty)"] == []
