"""The inference service: answers over HTTP with the model of a checkpoint."""

from aiotwin_nb.inference.service.checkpoints import Source, open_source
from aiotwin_nb.inference.service.service import InferenceService, State
from aiotwin_nb.inference.service.settings import Address, Settings

__all__ = ["Address", "InferenceService", "Settings", "Source", "State", "open_source"]
