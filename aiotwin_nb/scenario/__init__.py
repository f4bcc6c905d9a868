"""The scenario file: one YAML file says everything about a run."""

from aiotwin_nb.scenario.labs import lab_names, lab_path, shipped
from aiotwin_nb.scenario.load import (
    build_scenario,
    find_scenario,
    load_scenario,
    node_from_yaml,
    parse_override,
    scenario_schema,
    split_override,
)
from aiotwin_nb.scenario.located import parse_value
from aiotwin_nb.scenario.model import NodeSpec, Scenario, number

__all__ = [
    "NodeSpec",
    "Scenario",
    "build_scenario",
    "find_scenario",
    "lab_names",
    "lab_path",
    "load_scenario",
    "node_from_yaml",
    "number",
    "parse_override",
    "parse_value",
    "scenario_schema",
    "shipped",
    "split_override",
]
