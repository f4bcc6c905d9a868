"""Work in the background of which only the newest matters: plans while a slider moves, pictures while rounds end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Q = TypeVar("Q")


class Latest(Generic[Q]):
    """Answers questions one after the other in a thread of its own; one that is overtaken before its turn is dropped.

    `work(question)` must not raise; long work may ask `overtaken` and give up. `settle`: seconds without a new question
    before the newest is answered.
    """

    def __init__(self, work: Callable[[Q], None], *, settle: float = 0.0, name: str = "aiotwin-latest") -> None:
        self._work = work
        self._settle = settle
        self._name = name
        self._questions: list[Q] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def overtaken(self) -> bool:
        """Whether a newer question waits."""
        return bool(self._questions) or self._closed

    def ask(self, question: Q) -> None:
        """Have a question answered; returns at once."""
        with self._changed:
            if self._closed:
                return
            self._questions = [question]
            if self._thread is None:
                self._thread = threading.Thread(target=self._answer, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, after what it is at; safe to call twice and from the thread itself."""
        with self._changed:
            self._closed = True
            self._questions = []
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _answer(self) -> None:
        while (question := self._next()) is not None:
            self._work(question[0])

    def _next(self) -> list[Q] | None:
        """The newest question, in a list; None when it is over."""
        with self._changed:
            while not self._questions and not self._closed:
                self._changed.wait()
            while self._settle and not self._closed and self._changed.wait(self._settle):
                pass  # a newer question has come: wait for the dust to settle
            if self._closed:
                return None
            question, self._questions = self._questions, []
            return question
