"""pytest hooks: `async def` tests, and a binary that must be there. For each conftest.py."""
import asyncio
import inspect
import os
import pathlib
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import harness  # noqa: E402


def pytest_collection_modifyitems(items):
    if not pathlib.Path(harness.BIN).exists():
        raise pytest.UsageError(f"{harness.BIN} does not exist; run `make release` first")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs `async def` tests, each in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{n: pyfuncitem.funcargs[n] for n in names}))
    return True
