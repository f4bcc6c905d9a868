"""Shared by the tests of panels."""

import pytest

from aiotwin_nb.widgets.session import Session


@pytest.fixture
def session():
    """A lab's model without a run."""
    session = Session("improvement")
    yield session
    session.close()
