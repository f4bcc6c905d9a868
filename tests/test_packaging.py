"""What gets installed: the set-up's refusals, the wheel's contents, extras that exist and fit together, the command."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
PREFLIGHT = ROOT / ".ci" / "preflight.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def one_sentence(text):
    return text.count("\n") == 1 and text.endswith(".\n") and ". " not in text


# The checks before an installation.


@pytest.fixture(scope="module")
def preflight():
    spec = importlib.util.spec_from_file_location("preflight", PREFLIGHT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("platform", "version", "has_venv", "free_gb", "words"),
    [
        ("win32", (3, 12), True, 50, "Windows Subsystem for Linux"),
        ("linux", (2, 7), True, 50, "Python 2.7 is too old"),
        ("linux", (3, 10), True, 50, "Python 3.10 is too old"),
        ("darwin", (3, 14), True, 50, "Python 3.14 is too new"),
        ("linux", (3, 11), False, 50, "apt install python3-venv"),
        ("linux", (3, 11), True, 4.94, "Only 4.9 GB of disk are free, 5 are needed"),
    ],
)
def test_each_refusal_is_one_sentence(preflight, platform, version, has_venv, free_gb, words):
    sentence = preflight.refusal(platform, version, has_venv, free_gb)
    assert words in sentence
    assert one_sentence(sentence + "\n")


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_what_is_supported_is_not_refused(preflight, platform, version):
    assert preflight.refusal(platform, version, True, 5) is None


def test_the_bounds_are_those_of_the_package(preflight):
    low, high = (".".join(map(str, version)) for version in (preflight.OLDEST, preflight.TOO_NEW))
    assert PROJECT["requires-python"] == f">={low},<{high}"


# How a machine can differ, as a sitecustomize.py that Python imports when it starts.
PRETEND = {
    "too old": "import sys; sys.version_info = (3, 10, 4)",
    "too new": "import sys; sys.version_info = (3, 14, 0)",
    "venv module": "import sys; sys.modules['ensurepip'] = None",
    "disk are free": "import os; real = os.statvfs; os.statvfs = lambda p: type('S', (), dict(f_bavail=9, f_frsize=1))",
    "Windows": "import sys; sys.platform = 'win32'",
}


@pytest.mark.parametrize("words", PRETEND)
def test_make_stops_before_it_installs(tmp_path, words):
    (tmp_path / "sitecustomize.py").write_text(PRETEND[words])
    venv = tmp_path / "venv"
    # `make test` hands its own options down in these.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    made = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}", f"VENV={venv}", "SYSTEM_TORCH="],
        cwd=ROOT,
        env={**outside, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    sentence, _, rest = made.stderr.partition("\n")
    assert made.returncode
    assert words in sentence
    assert one_sentence(sentence + "\n")
    assert rest.startswith("make: ***")
    assert not venv.exists()


def test_the_cost_is_said_before_an_installation(tmp_path):
    said = python(PREFLIGHT, "machine", tmp_path / "new" / "venv")
    assert said.returncode == 0, said.stderr
    assert re.search(r"Installing into .*: downloads about [\d.]+ GB and takes [\d.]+ GB of disk", said.stdout)


def test_preflight_is_understood_by_old_pythons():
    tree = ast.parse(PREFLIGHT.read_text(), feature_version=(3, 4))
    assert not any(isinstance(node, (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign)) for node in ast.walk(tree))


def test_system_torch_is_written_down_or_refused(tmp_path):
    system = tmp_path / "system"
    for name in ("torch", "torchvision"):
        (system / name).mkdir(parents=True)
        (system / name / "__init__.py").touch()
        (system / f"{name}-9.8.dist-info").mkdir()
        (system / f"{name}-9.8.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8\n"
        )
    constraints = tmp_path / "constraints.txt"
    good = python(PREFLIGHT, "system-torch", constraints, PYTHONPATH=str(system))
    assert good.stdout == "Using the system's torch==9.8 and torchvision==9.8.\n", good.stderr
    assert constraints.read_text() == "torch==9.8\ntorchvision==9.8\n"

    (system / "torchvision" / "__init__.py").write_text("raise OSError('libcudart.so: not found')")
    bad = python(PREFLIGHT, "system-torch", constraints, PYTHONPATH=str(system))
    assert bad.returncode == 1
    assert "torchvision does not import (libcudart.so: not found)" in bad.stderr
    assert one_sentence(bad.stderr)


# The package.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names in the wheel, built from a copy: a build leaves folders behind in its source tree."""
    pytest.importorskip("setuptools", minversion="77")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("aiotwin_nb", "fl_service", "k3s", "labs", "notebooks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy(path, source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "-w")
    built = python("-m", "pip", "wheel", source, *options, out)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_what_a_user_needs(wheel):
    names = set(ZipFile(wheel).namelist())
    for folder in ("labs", "notebooks"):
        for path in (ROOT / folder).glob("*"):
            if path.suffix in (".yaml", ".csv", ".md", ".ipynb"):
                assert f"aiotwin_nb/{folder}/{path.name}" in names
    assert "aiotwin_nb/labs/improvement.yaml" in names
    assert "aiotwin_nb/py.typed" in names
    manifests = {f"aiotwin_nb/{path.relative_to(ROOT)}" for path in (ROOT / "k3s").rglob("*") if path.is_file()}
    assert manifests <= names
    assert {"fl_service/Dockerfile", "fl_service/.dockerignore", "fl_service/requirements-client.txt"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "k3s/", "labs/", "notebooks/"))]
    modules = {
        str(path.relative_to(ROOT)) for top in ("aiotwin_nb", "fl_service") for path in (ROOT / top).rglob("*.py")
    }
    assert modules <= names


def test_an_installed_package_finds_its_labs(wheel, tmp_path):
    ZipFile(wheel).extractall(tmp_path / "site")
    code = "import aiotwin_nb.cli as c, sys; sys.exit(c.main(['plan', 'hands-on', '--json']))"
    planned = python("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["initial"]["clusters"]


def test_the_command_answers(tmp_path):
    command = Path(sys.executable).with_name("aiotwin")
    if not command.exists():
        pytest.skip(reason="the package is not installed in the environment under test")
    for option, words in (("--version", "aiotwin 0."), ("--help", "improvement")):
        said = subprocess.run([command, option], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        assert words in said.stdout


# Extras.


def test_every_extra_that_a_message_names_exists():
    named = set()
    for top in ("aiotwin_nb", "fl_service"):
        for path in (ROOT / top).rglob("*.py"):
            text = path.read_text()
            named |= set(re.findall(r"aiotwin-nb\[(\w+)\]", text))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and "MissingDependency" in ast.unparse(node.func):
                    extra = (
                        node.args[1] if len(node.args) > 1 else next(k.value for k in node.keywords if k.arg == "extra")
                    )
                    named.add(ast.literal_eval(extra))
    assert named
    assert named <= set(PROJECT["optional-dependencies"])


def test_the_environment_under_test_is_consistent():
    checked = python("-m", "pip", "check")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_all_extras_resolve_together(tmp_path):
    report = tmp_path / "report.json"
    extras = ",".join(sorted(PROJECT["optional-dependencies"]))
    options = ("install", "--dry-run", "--ignore-installed", "--quiet", "--report", report)
    resolved = python("-m", "pip", *options, f"{ROOT}[{extras}]")
    if resolved.returncode and re.search(
        r"connection|name resolution|network|timed out", resolved.stderr, re.IGNORECASE
    ):
        pytest.skip(reason="pip reaches no package registry from here")
    assert resolved.returncode == 0, resolved.stderr
    found = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert {"aiotwin-nb", "torch", "torchvision", "kubernetes", "pytest", "ruff", "ray"} <= found
