"""A small data set."""

from tests.train.conftest import colours  # noqa: F401 - a fixture
