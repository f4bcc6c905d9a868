"""Which instance gets a request: balancing policies, one a module; own ones by an entry point."""

from aiotwin_nb.inference.balancing.base import DEFAULT_POLICY, Estimates, Policy, Setting, policies
from aiotwin_nb.inference.balancing.least_latency import least_latency
from aiotwin_nb.inference.balancing.nearest import nearest
from aiotwin_nb.inference.balancing.peak_ewma import peak_ewma
from aiotwin_nb.inference.balancing.qedgeproxy import qedgeproxy, qedgeproxy_fastest
from aiotwin_nb.inference.balancing.qos_bandit import qos_bandit
from aiotwin_nb.inference.balancing.round_robin import round_robin
from aiotwin_nb.inference.balancing.uniform import uniform

__all__ = [
    "DEFAULT_POLICY",
    "Estimates",
    "Policy",
    "Setting",
    "least_latency",
    "nearest",
    "peak_ewma",
    "policies",
    "qedgeproxy",
    "qedgeproxy_fastest",
    "qos_bandit",
    "round_robin",
    "uniform",
]
