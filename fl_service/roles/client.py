"""A client: trains on its own data, for whoever is its parent at the time."""

from __future__ import annotations

import importlib
import logging
from concurrent.futures import ThreadPoolExecutor

from fl_service.certificates import Credentials
from fl_service.errors import TaskError
from fl_service.grid import App
from fl_service.remote_grid import APP
from fl_service.roles.config import RoleConfig, address_from
from fl_service.roles.member import Member
from fl_service.roles.process import Readiness
from fl_service.transport.link import Link
from fl_service.transport.peer import Call, Operation, Reply

log = logging.getLogger("fl_service")


class Client:
    """The process of one client. FL work has a thread of its own; heartbeats and moves do not wait for it."""

    def __init__(self, config: RoleConfig) -> None:
        assert config.parent is not None
        self._config = config
        self._work = ThreadPoolExecutor(1, thread_name_prefix="fl-work")
        side = ThreadPoolExecutor(2, thread_name_prefix="fl-side")
        member = Member(config.name, self._app)
        readiness = Readiness(config.ready_file)
        readiness(False)
        self.link: Link | None = Link(
            config.name,
            Credentials.load(config.certificates),
            config.parent,
            config.timings,
            operations={
                "setup": Operation(self._work, member.setup),
                APP: Operation(self._work, member.execute),
                "move": Operation(side, self._move),
            },
            refuge=config.refuge,
            beat=readiness,
            max_message_mb=config.max_message_mb,
        )

    def start(self) -> None:
        """Join the parent; meanwhile what training needs is loaded."""
        assert self.link is not None
        if self._config.client_app is None:
            self._work.submit(_preload, self._config)
        self.link.start()

    def close(self) -> None:
        """Leave."""
        assert self.link is not None
        self.link.close()

    def _app(self, run_id: int, partitions: int) -> App:
        own = self._config.client_app
        if own is not None:
            return own_app(own["file"], own["attribute"])
        from fl_service.client_app import make_client_app
        from fl_service.tasks import make_task

        return make_client_app(make_task(self._config.spec, partitions))

    def _move(self, call: Call) -> Reply:
        assert self.link is not None
        parent = address_from(call.header["parent"], "parent")
        self.link.move(parent)
        log.info("%s moved to %s", self._config.name, parent.name)
        return Reply()


def own_app(file: str, attribute: str) -> App:
    """Return a user's own Flower ClientApp from a Python file; raises TaskError."""
    spec = importlib.util.spec_from_file_location("fl_service_client_app", file)
    if spec is None or spec.loader is None:
        raise TaskError(f"client_app.file: {file!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        app: App = getattr(module, attribute)
    except Exception as error:
        raise TaskError(f"client_app: {file}: {type(error).__name__}: {error}") from error
    return app


def _preload(config: RoleConfig) -> None:
    """Import PyTorch and load the data before the first setup asks for them; what is wrong is told then."""
    try:
        from fl_service.tasks import datasets

        importlib.import_module(
            "fl_service.tasks.user_task" if config.spec.task.get("file") else "fl_service.tasks.image"
        )
        if not config.spec.task.get("file"):
            datasets.load(config.spec.settings.name)
    except Exception as error:
        log.warning("not loaded in advance: %s", error)
