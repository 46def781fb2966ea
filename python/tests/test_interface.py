"""Stubs, docstrings and the book's example agree with the module."""

import ast
import inspect
import pathlib
import re

import pytest

import tribute

PACKAGE = pathlib.Path(tribute.__file__).parent
BOOK = pathlib.Path(__file__).parents[2] / "docs/src/python.md"


def stubs():
    return ast.parse((PACKAGE / "__init__.pyi").read_text()).body


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()
    names = {node.name for node in stubs() if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert names | {"__version__"} == set(tribute.__all__)


@pytest.mark.parametrize("node", [node for node in stubs() if isinstance(node, ast.FunctionDef)], ids=lambda n: n.name)
def test_stubs_have_the_parameters_of_the_functions(node):
    parameters = inspect.signature(getattr(tribute, node.name)).parameters
    positional = [name for name, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    keyword = [name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [a.arg for a in node.args.posonlyargs + node.args.args] == positional
    assert [a.arg for a in node.args.kwonlyargs] == keyword
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults):
        assert ast.literal_eval(default) == parameters[argument.arg].default, argument.arg


@pytest.mark.parametrize("node", [node for node in stubs() if isinstance(node, ast.ClassDef)], ids=lambda n: n.name)
def test_stubs_have_the_members_of_the_classes(node):
    real = {name for name in dir(getattr(tribute, node.name)) if not name.startswith("_")}
    assert {member.name for member in node.body} == real


@pytest.mark.parametrize("name", [name for name in tribute.__all__ if name != "__version__"])
def test_everything_is_documented(name):
    thing = getattr(tribute, name)
    assert thing.__doc__ and len(thing.__doc__) > 25
    for member in [m for m in dir(thing) if inspect.isclass(thing) and not m.startswith("_")]:
        assert getattr(thing, member).__doc__, f"{name}.{member}"


def test_the_examples_of_the_book_run():
    blocks = re.findall(r"```python\n(.*?)```", BOOK.read_text(), flags=re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, str(BOOK), "exec"), names)
