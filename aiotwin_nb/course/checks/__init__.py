"""The checks of the course's exercises, a module for each chapter that has some; importing this registers them."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
