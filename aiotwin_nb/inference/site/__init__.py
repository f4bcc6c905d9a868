"""An embedded continuum on one machine: real services, proxies and clients, to be disturbed and watched."""

from aiotwin_nb.inference.site.clients import Sample, Stream
from aiotwin_nb.inference.site.model import NodeSpec, SiteSpec, load_site, site_names
from aiotwin_nb.inference.site.site import Site

__all__ = ["NodeSpec", "Sample", "Site", "SiteSpec", "Stream", "load_site", "site_names"]
