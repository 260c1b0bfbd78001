from pytest_async import pytest_collection_modifyitems, pytest_pyfunc_call  # noqa: F401
