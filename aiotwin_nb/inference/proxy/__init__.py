"""The QoS-aware reverse proxy of a node: HTTP in, HTTP out, the instance chosen by a balancing policy."""

from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.proxy import Proxy
from aiotwin_nb.inference.proxy.sources import Directory, FileSource, FixedSource, ServiceSource

__all__ = ["Directory", "FileSource", "FixedSource", "Limits", "Proxy", "ServiceSource"]
