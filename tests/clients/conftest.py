"""The harness of the end-to-end tests, and their way to run `async def` tests."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from pytest_async import pytest_collection_modifyitems, pytest_pyfunc_call  # noqa: E402,F401
