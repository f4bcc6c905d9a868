"""What the panels rest on: widgets that answer to mouse and keyboard, kernels that restart, notebooks that are saved."""

from nbformat.v4 import new_markdown_cell
from playwright.sync_api import expect

COUNTER = """
import ipywidgets

button, printed = ipywidgets.Button(description="Count", tooltip="Add one"), ipywidgets.Output()
count = 0

def add_one(_):
    global count
    count += 1
    with printed:
        print("counted", count)

button.on_click(add_one)
ipywidgets.VBox([button, printed])
"""
LAMP = '''
import anywidget, traitlets

class Lamp(anywidget.AnyWidget):
    _esm = """
    export default { render({ model, el }) {
        el.innerHTML = `<svg viewBox="0 0 100 100" width="100"><circle cx="50" cy="50" r="40" role="button" tabindex="0"
            stroke="var(--jp-ui-font-color1)" stroke-width="4"/></svg>`;
        const lamp = el.querySelector("circle");
        const paint = () => {
            lamp.setAttribute("fill", model.get("on") ? "gold" : "grey");
            lamp.setAttribute("aria-label", `Lamp, ${model.get("said")}`);
        };
        const turn = () => { model.set("on", !model.get("on")); model.save_changes(); };
        lamp.addEventListener("click", turn);
        lamp.addEventListener("keydown", event => {
            if (event.key !== "Enter") return;
            event.stopPropagation();
            event.preventDefault();
            turn();
        });
        model.on("change", paint);
        paint();
    } };
    """
    on = traitlets.Bool(False).tag(sync=True)
    said = traitlets.Unicode("off").tag(sync=True)

    @traitlets.observe("on")
    def _answer(self, change):
        self.said = "on" if change.new else "off"

lamp = Lamp()
lamp
'''


def test_a_button_answers_to_mouse_and_keyboard(open_notebook):
    notebook = open_notebook([COUNTER])
    panel = notebook.run(0)
    button = panel.get_by_role("button", name="Count")
    button.click()
    expect(panel.get_by_text("counted 1")).to_be_visible()
    button.press("Enter")
    expect(panel.get_by_text("counted 2")).to_be_visible()
    button.press("Space")
    expect(panel.get_by_text("counted 3")).to_be_visible()


def test_an_svg_widget_answers_to_mouse_and_keyboard(open_notebook):
    notebook = open_notebook([LAMP, "print(lamp.on)", "lamp.on = False"])
    panel = notebook.run(0)
    expect(panel.get_by_role("button", name="Lamp, off")).to_have_attribute("fill", "grey")
    panel.get_by_role("button").click()
    expect(panel.get_by_role("button", name="Lamp, on")).to_have_attribute("fill", "gold")
    assert "True" in notebook.run(1).inner_text()
    panel.get_by_role("button").press("Enter")
    expect(panel.get_by_role("button", name="Lamp, off")).to_have_attribute("fill", "grey")
    panel.get_by_role("button").press("Enter")
    expect(panel.get_by_role("button", name="Lamp, on")).to_be_visible()
    notebook.run(2)
    expect(panel.get_by_role("button", name="Lamp, off")).to_be_visible()
    notebook.screenshot("svg-widget", 0)


def test_a_restarted_kernel_knows_nothing_and_the_outputs_stay(open_notebook):
    notebook = open_notebook(["remembered = 6 * 7\nremembered", "remembered"])
    notebook.run_all()
    notebook.restart()
    assert notebook.text(0) == notebook.text(1) == "42"
    notebook.run(1, fails=True)
    assert "NameError" in notebook.text(1)
    notebook.run_all()
    assert notebook.text(1) == "42"


def test_an_interrupt_ends_a_cell(open_notebook):
    notebook = open_notebook(["import time\nprint('at work', flush=True)\ntime.sleep(600)", "'alive'"])
    expect(notebook.run(0, wait=False)).to_contain_text("at work")
    notebook.interrupt()
    expect(notebook.output(0)).to_contain_text("KeyboardInterrupt")
    notebook.wait_idle()
    notebook.run(1)
    assert notebook.text(1) == "'alive'"


def test_a_saved_notebook_holds_outputs_and_no_widget_state(open_notebook):
    notebook = open_notebook([new_markdown_cell("# Title"), COUNTER, "print('done')"])
    notebook.run_all()
    notebook.page.get_by_role("button", name="Count").click()
    expect(notebook.output(1).get_by_text("counted 1")).to_be_visible()
    saved = notebook.save()
    assert saved.cells[2].outputs[0].text == "done\n"
    assert "application/vnd.jupyter.widget-view+json" in saved.cells[1].outputs[0].data
    assert "widgets" not in saved.metadata


def test_two_tabs_show_one_notebook_and_share_its_kernel(open_notebook, new_tab, watch):
    cells = ["shared = 7", "shared"]
    first = open_notebook(cells)
    first.run(0)
    second = open_notebook(cells, tab=new_tab())
    second.run(1)
    assert second.text(1) == "7"
    # Each tab hears the kernel's answers to the other's widget manager, and logs that it did not ask.
    assert all("Comm not found" in error for error in watch.take_errors())
