"""Fails for every method and status that the .proto files promise and that no test of this run has seen."""
import inspect

import pytest

import test_admin
import test_methods
import test_methods_groups
import test_methods_messages
import test_peer
from wire import METHODS, seen

MODULES = (test_admin, test_methods, test_methods_groups, test_methods_messages, test_peer)   # whose answers are counted


def _complete(request, module):
    there = {i.originalname or i.name for i in request.session.items if i.module is module}
    return there >= {n for n, f in inspect.getmembers(module, inspect.isfunction) if n.startswith("test_")}


def test_every_method_was_called_with_every_answer_that_its_declaration_lists(request):
    if not all(_complete(request, m) for m in MODULES):
        pytest.skip("only a part of the tests runs")
    missing = [f"{m.name} {status}" for m in METHODS.values()
               for status in ("OK", *m.refusals) if (m.name, status) not in seen]
    assert not missing, "never seen: " + ", ".join(missing)


def test_the_declarations_can_be_read():
    assert METHODS["Send"].refusals == ["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "ALREADY_EXISTS",
                                        "FAILED_PRECONDITION"]
    assert sum(len(m.refusals) for m in METHODS.values()) > 80
