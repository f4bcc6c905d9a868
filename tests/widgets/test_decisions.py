"""The cards say what happened, and draw again only what has changed."""

import re
from dataclasses import replace

import pytest
from moments import ROUNDS, branch, moment

from aiotwin_nb.widgets import decision_card as cards
from aiotwin_nb.widgets.decisions import DecisionsPanel, make_cards
from aiotwin_nb.widgets.truth import Truth


def card_at(tmp_path, number, lab="improvement", reveal=True, truth=None):
    (card,) = make_cards(moment(tmp_path, number, lab, **ROUNDS), truth or Truth(), reveal)
    return card


@pytest.fixture
def panel(session):
    panel = DecisionsPanel(session)
    yield panel
    panel.close()


def text(panel):
    """Everything that the panel shows, without its markup."""
    html = " ".join(w.value for w in _boxes(panel) if hasattr(w, "value") and isinstance(w.value, str))
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))


def _boxes(widget):
    if getattr(widget.layout, "display", None) == "none":
        return
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _boxes(child)


def test_a_card_names_who_joins_and_what_it_costs(tmp_path):
    card = card_at(tmp_path, 15)
    assert cards.title(card.record) == "After round 10: n9 joins"
    assert cards.delta_words(card.record) == ["n9 joins n3"]
    words = cards.words(card)
    assert "Ψ_rc 165; Ψ_gr 1,320 → 1,980 (Ψ_pr +660)" in words
    assert "✔ kept" in words
    assert "Kept: the new configuration is predicted to end at" in words


def test_who_leaves_is_named_with_its_aggregator(tmp_path):
    record = card_at(tmp_path, 15, "removal").record
    assert cards.delta_words(record) == ["n9 leaves n3"]
    assert cards.title(record) == "After round 10: n9 leaves"


def test_the_window_fills_round_by_round(tmp_path):
    done = [cards.progress(card_at(tmp_path, number)) for number in (11, 12, 14)]
    assert done == [(1, 5), (2, 5), (4, 5)]
    bar = cards.window_bar(card_at(tmp_path, 12))
    assert 'aria-valuenow="2"' in bar
    assert "round 2 of 5" in bar
    assert "full after round 15" in cards.window_bar(card_at(tmp_path, 15))


def test_an_open_window_shows_what_would_be_predicted_now(tmp_path):
    early, late = card_at(tmp_path, 12), card_at(tmp_path, 14)
    assert early.pending
    assert early.record.evaluation_round == 12
    assert early.record.curve_new != late.record.curve_new
    assert "as it stands after round 12" in cards.futures(early)


def test_a_hidden_prediction_is_in_no_number_of_the_card(tmp_path):
    seen, hidden = card_at(tmp_path, 14), card_at(tmp_path, 14, reveal=False)
    assert f"{seen.record.predicted_new:.1f} %" in cards.futures(seen)
    assert hidden.record.predicted_new is None
    assert "hidden until" in cards.futures(hidden)
    assert not hidden.has_futures


def test_a_decision_that_has_fallen_is_not_hidden(tmp_path):
    assert "final accuracy" in cards.futures(card_at(tmp_path, 15, reveal=False))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (
            branch(90, 80, "kept"),
            "✔ Right: kept, the run ends at 90.0 %; reverted, at 80.0 %. Keeping was better by 10.0",
        ),
        (
            branch(80, 90, "reverted"),
            "✘ Wrong: kept, the run ends at 80.0 %; reverted, at 90.0 %. Reverting was better",
        ),
        (branch(80, 80.2, "tie"), "= Either would have done"),
        (branch(80, None, "kept"), "There is no other road: this change could not be undone."),
    ],
)
def test_the_truth_is_told_by_word_and_symbol(tmp_path, outcome, said):
    card = card_at(tmp_path, 15, truth=Truth("done", {10: outcome}))
    assert cards.truth_words(card).startswith(said)
    assert said.split(":")[0] in cards.verdict_html(card)


def test_what_users_wrote_is_escaped(tmp_path):
    card = card_at(tmp_path, 15)
    trigger = replace(card.record.trigger, removed=("<b>n4",))
    evil = replace(card, record=replace(card.record, trigger=trigger))
    assert "<b>n4" not in cards.header(evil)
    assert "&lt;b&gt;n4" in cards.header(evil)


def test_the_panel_follows_the_run(session, panel, tmp_path):
    assert "There is no run yet." in text(panel)
    for number, said in ((9, "Nothing has changed so far"), (12, "round 2 of 5"), (15, "✔ kept")):
        session.snapshot = moment(tmp_path, number, **ROUNDS)
        panel._paint()
        assert said in text(panel)
    assert "When the run has ended, its other branch can be run." in text(panel)


def test_pictures_are_drawn_again_only_when_the_record_changed(session, panel, tmp_path):
    drawn = []
    for number in (15, 16, 17, -1):
        session.snapshot = moment(tmp_path, number, **ROUNDS)
        panel._paint()
        drawn.append(panel.picture())
    assert drawn[0] is drawn[1] is drawn[2]
    assert drawn[3] is not drawn[2]  # the run has ended: its whole curve
    assert "n9 joins" in drawn[3].alt
    assert drawn[3].png.startswith(b"\x89PNG")


def test_the_other_branch_is_offered_when_the_run_has_ended(session, panel, tmp_path):
    session.snapshot = moment(tmp_path, -1, **ROUNDS)
    panel._paint()
    assert panel._road._button.layout.display is None
    session.truth = Truth("running", seconds=3)
    panel._paint()
    assert panel._road._button.layout.display == "none"
    assert "running the other branch: 3 s" in text(panel)
    session.truth = Truth("failed", problem="no space left")
    panel._paint()
    assert "✘ no space left" in text(panel)
    session.truth = Truth("done", {10: branch(90, 80, "kept")})
    panel._paint()
    assert panel._road._button.layout.display == "none"
    assert "✔ Right" in text(panel)
    assert "✔ Right" in panel.describe()


def test_a_click_without_a_run_is_told(panel):
    panel._road._button.click()
    assert "this lab has no run yet" in panel._road._words.value
