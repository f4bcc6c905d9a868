"""The topology and the events form as a person meets them: by mouse, by keyboard alone, in both themes."""

from playwright.sync_api import expect

from .lab import DARK

PANELS = """
import ipywidgets
from aiotwin_nb.widgets.events import EventsPanel
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.topology import TopologyPanel

session = Session({scenario!r})
topology, events = TopologyPanel(session), EventsPanel(session)
ipywidgets.VBox([topology, events])
"""
MANY = """
import aiotwin_nb as at
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.topology import TopologyPanel

las = [f"a{i}" for i in range(20)]
nodes = [{"id": "g", "role": "global_aggregator"}]
nodes += [{"id": la, "role": "local_aggregator", "links": {"g": 90}} for la in las]
nodes += [{"id": f"c{i}", "role": "client", "links": {la: 5 + (7 * i + 3 * j) % 40 for j, la in enumerate(las)},
           "data": {i % 10: 40, (i + 1) % 10: 20}} for i in range(479)]
panel = TopologyPanel(Session(at.Scenario(name="many", nodes=nodes)))
assert panel.settle(60)
panel
"""


def node(panel, name):
    return panel.locator(f'[data-node="{name}"]')


def test_the_tree_by_keyboard(open_notebook):
    notebook = open_notebook([PANELS.format(scenario="hands-on"), "session.selected", "topology.describe()"])
    panel = notebook.run(0)
    tree = panel.get_by_role("tree")
    expect(tree).to_have_attribute("aria-label", "Topology: 9 nodes in 2 clusters")
    panel.get_by_role("button", name="Zoom in").focus()
    notebook.page.keyboard.press("Tab")
    expect(node(panel, "n1")).to_be_focused()
    for key, expected in (
        ("ArrowDown", "n2"), ("ArrowDown", "n4"), ("ArrowRight", "n5"), ("ArrowLeft", "n4"), ("ArrowUp", "n2"),
        ("-", "n2"), ("ArrowRight", "n3"), ("End", "n9"), ("Home", "n1"), ("n", "n1"), ("7", "n7"),
    ):  # fmt: skip
        notebook.page.keyboard.press(key)
        expect(node(panel, expected)).to_be_focused()
    expect(node(panel, "n2")).to_have_attribute("aria-expanded", "false")
    expect(node(panel, "n4")).to_be_hidden()
    notebook.page.keyboard.press("Enter")
    expect(node(panel, "n7")).to_have_attribute("aria-selected", "true")
    expect(panel.get_by_role("region", name="Details of node n7")).to_contain_text("120 samples of labels 0, 1, 2")
    notebook.run(1)
    assert notebook.text(1) == "'n7'"
    node(panel, "n7").press("Escape")
    expect(node(panel, "n7")).to_have_attribute("aria-selected", "false")
    panel.get_by_text("As a table").press("Enter")
    expect(panel.get_by_role("row", name="n9 client n3 100")).to_contain_text("joins after round 10")


def test_the_kernel_selects_and_changes_are_announced(open_notebook):
    changed = "session.change({'nodes.5.links': {'n1': 120, 'n2': 90, 'n3': 20}, 'nodes.6.links': {'n1': 120, 'n2': 20, 'n3': 90}})"
    notebook = open_notebook([PANELS.format(scenario="hands-on"), "session.selected = 'n6'", changed])
    panel = notebook.run(0)
    notebook.run(1)
    expect(node(panel, "n6")).to_have_attribute("aria-selected", "true")
    notebook.run(2)
    expect(panel.get_by_role("status").first).to_contain_text("n6 moves from n2 to n3")
    expect(node(panel, "n6")).to_have_attribute(
        "aria-label", "n6, client, link to n3 costs 20 per MB, 120 samples, labels 6 7 8"
    )


def test_nothing_moves_for_those_who_ask_for_less_motion(open_notebook):
    notebook = open_notebook([PANELS.format(scenario="hands-on")])
    notebook.page.emulate_media(reduced_motion="reduce")
    panel = notebook.run(0)
    style = "e => [getComputedStyle(e).transitionDuration, getComputedStyle(e).animationName]"
    assert node(panel, "n4").evaluate(style) == ["0s", "none"]
    notebook.page.emulate_media(reduced_motion="no-preference")
    assert node(panel, "n4").evaluate(style)[0] != "0s"


def test_a_wrong_field_is_marked_and_a_right_event_goes_into_the_draft(open_notebook):
    notebook = open_notebook([PANELS.format(scenario="hands-on"), "[e.after_round for e in session.scenario.events]"])
    panel = notebook.run(0)
    links, confirm = panel.get_by_label("links"), panel.get_by_role("button", name="Let it join (in the draft)")
    expect(confirm).to_be_enabled()
    expect(panel.get_by_text("rounds left")).to_be_visible()
    links.fill("n1: -5")
    expect(links).to_have_attribute("aria-invalid", "true")
    expect(links).to_have_accessible_description(
        "⚠ is -5; it must be greater than or equal to 0 cost per MB to other nodes, like n1: 150, n2: 120"
    )
    assert links.evaluate("e => getComputedStyle(e).borderTopWidth") == "2px"
    expect(confirm).to_be_disabled()
    links.fill("n1: 150, n2: 20, n3: 30")
    expect(links).not_to_have_attribute("aria-invalid", "true")
    panel.get_by_role("spinbutton", name="after round").fill("20")
    expect(panel.get_by_text("After round 20")).to_be_visible()
    confirm.press("Enter")
    expect(panel.get_by_text("In the draft: n10 joins after round 20.")).to_be_visible()
    expect(node(panel, "n10")).to_contain_text("after 20")
    notebook.run(1)
    assert notebook.text(1) == "[10, 20]"
    notebook.screenshot("events-light", 0)


def test_24_clients_in_the_dark(open_notebook):
    notebook = open_notebook([PANELS.format(scenario="cluster-24")])
    panel = notebook.run(0)
    notebook.tab.theme(DARK)
    node(panel, "n12").click()
    expect(panel.get_by_role("region", name="Details of node n12")).to_contain_text("200 samples/s")
    notebook.screenshot("topology-24-dark", 0)


def test_500_nodes_start_folded_and_fit(open_notebook):
    notebook = open_notebook([MANY])
    panel = notebook.run(0)
    expect(node(panel, "a0")).to_have_attribute("aria-expanded", "false")
    expect(node(panel, "c0")).to_be_hidden()
    notebook.screenshot("topology-500", 0)
    panel.get_by_role("button", name="Collapse or expand all clusters").click()
    expect(node(panel, "c0")).to_be_visible()
    canvas = panel.locator(".canvas")
    assert canvas.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), "no sideways scrolling at zoom 1"
    overlaps = """e => { const boxes = [...e.querySelectorAll('.node .body')].map(b => b.getBoundingClientRect());
        let n = 0; boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
            n += a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1; })); return n; }"""
    expect(node(panel, "c0")).not_to_have_class("enter")
    notebook.page.wait_for_function(
        "() => !document.querySelector('.aiotwin-topology').getAnimations({subtree: true}).length"
    )
    assert canvas.evaluate(overlaps) == 0
