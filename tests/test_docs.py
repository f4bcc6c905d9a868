"""The site is built from the repository's own pages without a warning, and fetches nothing from another host."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def build():
    pytest.importorskip("sphinx", reason="needs the extra docs")
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", "HOME": str(out), "PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"},
    )
    assert done.returncode == 0, done.stderr
    return out


def text(page):
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_notebook_guide_and_card_has_a_page(site):
    for pattern in ("notebooks/*.ipynb", "labs/*.md", "docs/data/*.md"):
        for source in ROOT.glob(pattern):
            assert (site / source.relative_to(ROOT)).with_suffix(".html").is_file(), source
    index = (site / "index.html").read_text(encoding="utf-8")
    for source in ROOT.glob("notebooks/*.ipynb"):
        assert f'href="notebooks/{source.stem}.html"' in index


@pytest.mark.slow
def test_the_references_say_what_the_program_says(site):
    import aiotwin_nb
    from aiotwin_nb.cli import VERBS
    from aiotwin_nb.cli_cluster import VERBS as CLUSTER_VERBS
    from aiotwin_nb.scenario import Scenario

    commands = text(site / "reference" / "cli.html")
    assert all(re.search(rf"aiotwin {verb}\b", commands) for verb in VERBS)
    assert all(re.search(rf"aiotwin cluster {verb}\b", commands) for verb in CLUSTER_VERBS)
    api = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert all(f'id="aiotwin_nb.{name}"' in api for name in aiotwin_nb.__all__)
    fields = text(site / "reference" / "scenario.html")
    assert all(name in fields for name in Scenario.model_fields)


@pytest.mark.slow
def test_committed_outputs_are_shown(site):
    page = (site / "notebooks" / "01-first-run.html").read_text(encoding="utf-8")
    assert "94.0" in page
    assert page.count("<img") >= 2
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img[^>]*>", page))


def test_what_another_host_would_serve_is_found(build, tmp_path):
    """The check can fail: scripts, pictures, styles and fonts; links that people click are no assets."""
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="//fonts.example/x.css"><script src="https://cdn.example/x.js"></script>'
        '<img src="HTTP://example/x.png"><a href="https://example">x</a><img src="here.png"><script>1</script>'
    )
    (tmp_path / "a.css").write_text(
        '@import "https://example/a.css"; b { background: url(//example/b.png) } c { d: url(e) }'
    )
    assert sorted(build.outside(tmp_path)) == [
        "a.css: //example/b.png",
        "a.css: https://example/a.css",
        "a.html: //fonts.example/x.css",
        "a.html: HTTP://example/x.png",
        "a.html: https://cdn.example/x.js",
    ]


def test_the_scenarios_page_has_every_section_and_field(build):
    from aiotwin_nb.scenario import scenario_schema

    schema = scenario_schema()
    page = build.scenario_page(schema)
    for name, section in schema["$defs"].items():
        for field in section.get("properties", ()):
            assert f"| `{field}` |" in page, (name, field)
    assert "[ValidationSpec](#validationspec)" in page
    assert "| `window` | whole number | `5` |" in page
