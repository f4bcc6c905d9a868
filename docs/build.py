"""Build the pages: gather README, notebooks, guides and data cards beside docs/, write the scenario's page, run Sphinx.

Usage: python docs/build.py [OUT]; by default build/docs. Warnings are errors, and so is a page that fetches anything
from another host. Nothing is executed: the notebooks are shown with the outputs that they were committed with.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sphinx.cmd.build import build_main

from aiotwin_nb.scenario import scenario_schema

ROOT = Path(__file__).resolve().parent.parent
# What stands beside the pages of docs/, at its place in the repository, so that relative links go on working.
GATHERED = (
    "README.md",
    "LICENSE",
    "notebooks/*.ipynb",
    "notebooks/img/*.png",
    "labs/*.md",
    "labs/*.yaml",
    "labs/sites/*",
    "labs/img/*.png",
    "docs/data/*.md",
    "tests/benchmarks/results/*",
)
OUTSIDE = re.compile(r"^(https?:)?//", re.IGNORECASE)
ASSETS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "embed": "src",
}


def gather(target: Path) -> None:
    """The sources of all pages in one folder."""
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("data", "__pycache__", "build.py"))
    for pattern in GATHERED:
        for source in sorted(ROOT.glob(pattern)):
            if source.is_file():
                place = target / source.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
    (target / "reference" / "scenario.md").write_text(scenario_page(scenario_schema()), encoding="utf-8")


def scenario_page(schema: Mapping[str, Any]) -> str:
    """The scenario's fields in Markdown, a table for each section, from its JSON schema."""
    parts = [
        "# Scenario file\n\nOne YAML file says everything about a run. Fields with a default may be left out; unknown "
        "ones are refused. `aiotwin schema` prints the same as a JSON schema, for editors.\n",
        f"## The whole\n\n{_fields(schema, schema['$defs'])}",
    ]
    for name, section in sorted(schema["$defs"].items()):
        if "properties" in section:
            parts.append(
                f"## {name}\n\n{section.get('description', '').strip()}\n\n{_fields(section, schema['$defs'])}"
            )
    return "\n".join(parts)


def _fields(section: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """The table; without its last column where no field says what it means."""
    required = section.get("required", ())
    rows = [
        [f"`{name}`", _type(field, sections), "*required*" if name in required else _default(field),
         field.get("description", "").replace("|", "\\|")]
        for name, field in section["properties"].items()
    ]  # fmt: skip
    columns = 4 if any(row[3] for row in rows) else 3
    head = ["field", "type", "default", "meaning"][:columns]
    lines = [head, ["---"] * columns, *(row[:columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if isinstance(value, dict | list):
        return "" if value else "none"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """A JSON schema's type in a few words; sections are links."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if "properties" in sections[name] else _type(sections[name], sections)
    for key in ("anyOf", "oneOf"):
        if key in field:
            words = [_type(each, sections) for each in field[key] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        inner = field.get("items") or {}
        return f"list of {_type(inner, sections)}" if inner else "list"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"mapping to {_type(inner, sections)}" if isinstance(inner, dict) and inner else "mapping"
    return {"integer": "whole number", "string": "text", "boolean": "true or false"}.get(
        str(field.get("type")), str(field.get("type", "anything"))
    )


class _Page(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of an asset; links that people click do not count."""
        values = {key: value or "" for key, value in attrs}
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon", "preconnect"):
            self.fetched.append(values.get("href", ""))
        elif tag in ASSETS:
            self.fetched.append(values.get("src", ""))


def outside(folder: Path) -> Iterator[str]:
    """`page: address` for everything that a built page or style sheet fetches from another host."""
    for path in sorted(folder.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(folder)}: {address}" for address in page.fetched if OUTSIDE.match(address))
    for path in sorted(folder.rglob("*.css")):
        addresses = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s;]+)", path.read_text(encoding="utf-8"))
        yield from (f"{path.relative_to(folder)}: {address}" for address in addresses if OUTSIDE.match(address))


def main(arguments: list[str]) -> int:
    """Build; returns the exit code."""
    out = Path(arguments[0] if arguments else ROOT / "build" / "docs").resolve()
    if (out / ".buildinfo").is_file():
        shutil.rmtree(out)  # pages of an earlier build that are no more
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        gather(source)
        code = build_main(
            ["-q", "-W", "--keep-going", "-n", "-b", "html", "-d", f"{folder}/doctrees", str(source), str(out)]
        )
    if code:
        return code
    if found := list(outside(out)):
        print("\n".join(["these would be fetched from another host:", *found]), file=sys.stderr)
        return 1
    print(f"{out}/index.html: {len(list(out.rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
