"""The inference side in a notebook: a site is watched and disturbed by keyboard, and policies are compared."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from .lab import DARK, LIGHT

SERVED = 60_000  # milliseconds until services are up and windows of measurements are over
LAB = "from aiotwin_nb.widgets.serving import ServingLab\nlab = ServingLab('two-sides')\nlab"
COMPARE = "from aiotwin_nb.widgets.serving import PolicyComparison\npanel = PolicyComparison('overload', 1)\npanel"
READABLE = 4.5  # contrast of text that WCAG 2 asks for (AA)
# Contrast of an element's text with the first opaque background behind it.
CONTRAST = """element => {
    const parts = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    let behind = element, ground = parts(getComputedStyle(behind).backgroundColor);
    while (behind.parentElement && ground[3] === 0) {
        behind = behind.parentElement;
        ground = parts(getComputedStyle(behind).backgroundColor);
    }
    const [low, high] = [luminance(parts(getComputedStyle(element).color)), luminance(ground)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""


def test_a_site_is_watched_and_disturbed_by_keyboard(open_notebook):
    notebook = open_notebook([LAB, "lab.close()\nlab.describe()"])
    area = notebook.run(0)
    panel, keyboard = area.locator(".aiotwin-panel"), notebook.page.keyboard
    service_map = panel.get_by_role("img", name=re.compile("^counting under qos_bandit: .* answered within 150 ms"))
    quality = panel.get_by_role("img", name=re.compile(r"% in time in the last window"))
    expect(service_map).to_be_visible(timeout=SERVED)
    expect(quality).to_be_visible(timeout=SERVED)
    assert all(drawn(image) for image in (service_map, quality))

    what, whom = panel.get_by_label("Do", exact=True), panel.get_by_label("to", exact=True)
    expect(what).to_have_value("overload")
    what.focus()
    for key in ("k", "Tab"):  # kill; then whom
        keyboard.press(key)
    expect(what.locator("option:checked")).to_have_text("kill")
    expect(whom).to_be_focused()
    amount = panel.get_by_role("spinbutton")
    expect(amount).to_be_disabled()
    keyboard.type("west")
    chosen = whom.locator("option:checked").inner_text()
    assert chosen.startswith("west")
    keyboard.press("Tab")  # there is no amount to be given: the button comes next
    expect(panel.get_by_role("button", name="Do it")).to_be_focused()
    what.focus()
    keyboard.press("o")
    expect(what.locator("option:checked")).to_have_text("overload")
    expect(panel.get_by_label("times slower")).to_be_enabled()
    whom.focus()
    keyboard.type("cloud")
    expect(whom.locator("option:checked")).to_have_text("cloud")
    keyboard.press("Tab")
    expect(amount).to_be_focused()
    amount.fill("0")
    keyboard.press("Tab")
    keyboard.press("Enter")
    refused = panel.get_by_role("alert").filter(has_text="from 1 (no overload) to 1000")
    expect(refused).to_be_visible()
    notebook.screenshot("serving-refused", 0)
    amount.fill("50")
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(refused).to_have_count(0)
    overloaded = panel.get_by_role("img", name=re.compile("slowed down: cloud-1|slowed down: .*cloud"))
    expect(overloaded).to_be_visible(timeout=SERVED)

    policy = panel.get_by_label("Policy", exact=True)
    policy.focus()
    keyboard.type("round")
    expect(panel.get_by_role("img", name=re.compile("^counting under round_robin"))).to_be_visible(timeout=SERVED)
    notebook.screenshot("serving", 0)
    readable(panel, notebook.tab, "serving-dark", notebook)
    ended = notebook.run(1)
    expect(ended.get_by_text("counting under round_robin")).to_be_visible()


def test_policies_are_compared(open_notebook):
    notebook = open_notebook([COMPARE])
    panel = notebook.run(0).locator(".aiotwin-panel")
    picture = panel.get_by_role("img", name=re.compile("^overload-1: share of .* round_robin"))
    compare = panel.get_by_role("button", name="Compare")
    expect(picture).to_be_visible(timeout=SERVED)
    expect(compare).to_be_enabled(timeout=SERVED)
    notebook.screenshot("policies", 0)
    panel.get_by_label("What happens").focus()
    notebook.page.keyboard.type("failure")
    box = panel.get_by_role("checkbox", name="round_robin")
    box.focus()
    notebook.page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    compare.focus()
    notebook.page.keyboard.press("Enter")
    failure = panel.get_by_role("img", name=re.compile("^failure-1: "))
    expect(failure).to_be_visible(timeout=SERVED)
    assert "round_robin" not in failure.get_attribute("alt")
    assert drawn(failure)
    expect(panel.get_by_text("With all latencies known")).to_be_visible()
    readable(panel, notebook.tab, "policies-dark", notebook)
    for each in panel.get_by_role("checkbox").all():
        each.uncheck()
    compare.press("Enter")
    expect(panel.get_by_role("alert").filter(has_text="Choose at least one policy")).to_be_visible()


def drawn(image: Locator) -> bool:
    """Whether a picture is loaded and of some size."""
    return image.evaluate("async image => { await image.decode(); return image.naturalWidth > 300; }")


def readable(panel: Locator, tab, name: str, notebook) -> None:
    """Every label and line of words can be read in the dark theme; a picture of it is kept."""
    tab.theme(DARK)
    try:
        texts = panel.locator("label:visible, b:visible, [role=status]:visible, button:visible, select:visible")
        contrasts = {text.text_content(): text.evaluate(CONTRAST) for text in texts.all() if text.text_content()}
        notebook.screenshot(name, 0)
        assert len(contrasts) > 5
        assert min(contrasts.values()) >= READABLE, contrasts
    finally:
        tab.theme(LIGHT)
