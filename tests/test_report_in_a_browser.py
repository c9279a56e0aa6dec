"""The report as people use it: opened from the disk in a real browser, by mouse and by keyboard.

It needs Chromium or Chrome on the machine (Debian's package chromium) and playwright, which drives
it. Set SKSAE_CHROMIUM to a browser that has another name.
"""

import os
import re
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sksae import SparseAutoencoderTransformer
from sksae.inspection import report

MISSING = "\N{EN DASH}"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A sandbox of its own cannot be had by root, as in a container; the page is our own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    given = os.environ.get("SKSAE_CHROMIUM")
    path = given or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium or Chrome: none of " + ", ".join(NAMES) + " is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    X, y = load_digits(return_X_y=True)
    sae = SparseAutoencoderTransformer(24, max_iter=10, random_state=0).fit(X[:500])
    folder = tmp_path_factory.mktemp("report")
    names = np.array([f"digit {digit}" for digit in range(10)])
    return report(sae, X[:500], names[y[:500]], path=folder / "a.html", image_shape=(8, 8))


@pytest.fixture
def faults():
    return []


@pytest.fixture
def open_page(browser, path, faults):
    """Return a function that opens the page; afterwards it must have asked for nothing else."""
    contexts = []

    def asked(request):
        if not request.url.startswith(("file:", "data:")):
            faults.append(request.url)

    def open_page(anchor="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.on("request", asked)
        page.goto(path.as_uri() + anchor)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def column(page, title):
    """Return the texts of a column of the table, as they stand below each other."""
    titles = [text.rstrip(" ↕↑↓") for text in page.locator("#table thead th").all_inner_texts()]
    index = titles.index(title) + 1
    return page.locator(f"#table tbody tr:visible > :nth-child({index})").all_inner_texts()


def shows(page, title):
    """Wait until a unit is shown: a browser tells of a new address when it has time."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect(page.locator("#unit-title")).to_have_text(title)


def test_it_opens_with_all_units_and_one_of_them_shown(open_page):
    page = open_page()
    assert page.title() == "SparseAutoencoderTransformer"
    assert column(page, "Unit") == [str(unit) for unit in range(24)]
    shows(page, "Unit 0")
    assert page.locator(".figures svg").count() == 4
    assert page.locator(".atlas img").count() == 24


def test_numbers_are_sorted_by_value_and_back(open_page):
    page = open_page()
    page.get_by_role("button", name="Separation").click()
    values = [float(text) for text in column(page, "Separation") if text != MISSING]
    assert values == sorted(values, reverse=True)
    head = page.locator("#table th", has_text="Separation")
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Separation").click()
    values = [float(text) for text in column(page, "Separation") if text != MISSING]
    assert values == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Class").click()
    names = column(page, "Class")
    assert names == sorted(names)


def test_a_search_leaves_what_has_all_words(open_page):
    page = open_page()
    classes = dict(zip(column(page, "Unit"), column(page, "Class"), strict=True))
    wanted = classes["5"]
    page.get_by_label("Search units").fill(wanted)
    left = column(page, "Unit")
    assert set(left) == {unit for unit, name in classes.items() if name == wanted}
    assert page.locator("#found").inner_text() == f"{len(left)} of 24 units"
    page.get_by_label("Search units").fill("17")
    assert column(page, "Unit") == ["17"]
    page.keyboard.press("Escape")
    assert len(column(page, "Unit")) == 24
    page.get_by_label("Search units").fill("no such word")
    assert column(page, "Unit") == []


def test_a_number_or_a_picture_leads_to_its_unit(open_page):
    page = open_page()
    page.locator("#row-9 a").click()
    shows(page, "Unit 9")
    assert page.url.endswith("#unit-9")
    assert page.locator("#row-9").get_attribute("aria-current") == "true"
    page.locator(".atlas a").nth(3).click()
    shows(page, "Unit 3")
    page.go_back()
    shows(page, "Unit 9")
    page.get_by_role("link", name="Back to the table").click()
    page.wait_for_url("**#units")
    shows(page, "Unit 9")
    # Pictures of its rows have been drawn.
    images = page.locator("#unit img")
    assert images.count() > 10
    images.evaluate_all("them => Promise.all(them.map(it => it.decode()))")
    assert set(images.evaluate_all("them => them.map(it => it.naturalWidth)")) == {8}


def test_an_address_leads_to_a_unit(open_page):
    shows(open_page("#unit-20"), "Unit 20")
    shows(open_page("#unit-99"), "Unit 0")


def test_the_keyboard_does_all_of_it(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the table of units"
    page.keyboard.press("Enter")
    page.wait_for_url("**#units")
    page.keyboard.press("j")
    shows(page, "Unit 1")
    assert page.evaluate("document.activeElement.id") == "unit-title"
    page.keyboard.press("k")
    page.keyboard.press("k")
    shows(page, "Unit 23")
    page.keyboard.press("/")
    page.keyboard.type("12")
    assert column(page, "Unit") == ["12"]
    page.keyboard.press("Escape")
    button = page.get_by_role("button", name="Density")
    button.focus()
    page.keyboard.press("Enter")
    values = [float(text) for text in column(page, "Density")]
    assert values == sorted(values, reverse=True)


def test_the_order_of_the_table_is_that_of_steps(open_page):
    page = open_page()
    page.get_by_role("button", name="Density").click()
    order = column(page, "Unit")
    page.locator(f"#row-{order[0]} a").click()
    page.get_by_role("button", name="Next").click()
    shows(page, f"Unit {order[1]}")


def luminance(colour):
    """Return the relative luminance of "rgb(r, g, b)", as WCAG 2.1 defines it."""
    channels = np.array([int(each) for each in re.findall(r"\d+", colour)[:3]]) / 255.0
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(page, selector, behind="body"):
    def colour(which, name):
        return page.locator(which).first.evaluate(f"it => getComputedStyle(it).{name}")

    one, other = luminance(colour(selector, "color")), luminance(colour(behind, "backgroundColor"))
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read(open_page, scheme):
    page = open_page(color_scheme=scheme)
    ground = luminance(page.locator("body").evaluate("it => getComputedStyle(it).backgroundColor"))
    assert ground < 0.05 if scheme == "dark" else ground > 0.9
    for selector in ("h1", ".summary", "#table a", "figcaption", "figure svg text"):
        assert contrast(page, selector) >= 4.5, selector
    for selector in ("#unit .tiles li", "#unit h4"):
        assert contrast(page, selector, "#unit") >= 4.5, selector
    page.locator("#theme").click()
    other = luminance(page.locator("body").evaluate("it => getComputedStyle(it).backgroundColor"))
    assert (other > 0.9) == (scheme == "dark")
    assert contrast(page, ".summary") >= 4.5
    assert page.locator("#theme").inner_text().lower() == scheme


def test_a_small_screen_has_no_sideways_scrolling(open_page):
    page = open_page(viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("button", name="Next").click()
    assert page.locator("#unit-title").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_screen_reader_hears_names(open_page):
    page = open_page()
    assert page.locator("main").count() == 1
    assert page.get_by_role("region", name="Table of units").count() == 1
    assert page.get_by_role("article", name="Unit 0").count() == 1
    for image in page.get_by_role("img").all():
        name = image.get_attribute("alt") or image.get_attribute("aria-label")
        assert name, image.evaluate("it => it.outerHTML.slice(0, 200)")
    assert page.get_by_role("columnheader").count() == page.locator("#table thead th").count()


def test_it_can_be_read_without_scripts(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#table tbody tr").count() == 24
    assert not page.locator("#search").is_visible()
