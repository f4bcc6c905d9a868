"""Decide before the orchestrator does, see its prediction, and see who was right."""

from playwright.sync_api import expect

from .lab import DARK

SHOW = """
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.decisions import DecisionsPanel
from aiotwin_nb.widgets.predict import PredictPanel
session = Session("improvement")
session.change({"training.max_rounds": 24, "training.epochs": 30, "validation.window": 8})
predict, decisions = PredictPanel(session), DecisionsPanel(session)
predict.required = True
predict
"""


def test_predict_first_then_see_who_was_right(open_notebook):
    notebook = open_notebook(
        [SHOW, "decisions", "session.start(tracking='off')", "session.stop()", "session.resume()", "1 + 1"]
    )
    form, cards = notebook.run(0), notebook.run(1)
    expect(form.get_by_text("n9 brings 120 samples of labels")).to_be_visible()
    expect(form.get_by_role("button", name="Seal my prediction")).to_be_disabled()
    notebook.screenshot("predict-open", 0)
    notebook.run(2)
    expect(cards.get_by_role("progressbar", name="validation window")).to_be_visible(timeout=90_000)
    expect(cards.get_by_text("hidden until you have sealed yours")).to_be_visible()
    expect(cards.get_by_role("table")).to_have_count(0)
    notebook.run(3)  # the run rests, so that there is time to think
    notebook.screenshot("decision-hidden", 1)
    form.get_by_role("button", name="Keep the change").focus()
    notebook.page.keyboard.press("Enter")
    form.get_by_label("Final accuracy").fill("90")
    form.get_by_label("Because").fill("three labels that nobody had")
    form.get_by_role("button", name="Seal my prediction").press("Enter")
    expect(form.get_by_text("You predicted: keep, ending at 90 % (three labels that nobody had)")).to_be_visible()
    expect(cards.get_by_text("as it stands after round").first).to_be_visible()
    assert cards.locator(".aiotwin-card img").get_attribute("alt").startswith("Accuracy over rounds")
    expect(cards.get_by_role("button", name="Run the other branch")).not_to_be_visible()
    notebook.screenshot("decision-as-it-stands", 1)
    notebook.run(4)
    expect(cards.get_by_text("✔ kept")).to_be_visible(timeout=60_000)
    expect(form.get_by_text("The orchestrator kept, = as you did.")).to_be_visible()
    other = cards.get_by_role("button", name="Run the other branch")
    expect(other).to_be_visible(timeout=60_000)
    other.click()
    expect(cards.get_by_text("running the other branch:")).to_be_visible()
    assert notebook.run(5).inner_text().endswith("2")  # the kernel answers meanwhile
    notebook.screenshot("decision-comparing", 1)
    expect(cards.get_by_text("Right: kept, the run ends at")).to_be_visible(timeout=120_000)
    expect(form.get_by_text("You were right, and so was the orchestrator")).to_be_visible()
    notebook.screenshot("decision-right", 1)
    notebook.tab.theme(DARK)
    notebook.screenshot("decision-right-dark", 1)
    notebook.screenshot("predict-scored-dark", 0)
