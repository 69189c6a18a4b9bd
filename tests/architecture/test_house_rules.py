"""Rules of the style guide that a syntax tree can see."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = sorted(p for package in ("edge", "converters") for p in (_ROOT / package).rglob("*.py"))
_MODULES = [p for p in _SOURCES if p.name != "__init__.py"]

# Where a third-party library may be imported: one module per package, named for it or for the one thing it is there for.
_STDLIB_LIKE = {"numpy", "msgspec", "click", "edge", "converters", "typing_extensions"}
_NATIVE = {"ai_edge_litert", "tflite_runtime", "tensorflow", "onnxruntime", "tokenizers", "picamera2", "torch", "tuf"}


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value)}.{attr}"
        case _:
            return "?"


def _calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            yield _dotted(node.func), node.lineno


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno


@pytest.mark.parametrize("path", _MODULES, ids=_name)
def test_every_module_says_what_it_promises_leaves_out_and_which_thread_runs_it(path: Path) -> None:
    if path.name == "__main__.py" or "versions" in path.parts:
        return
    text = ast.get_docstring(_tree(path)) or ""
    exempt = _name(path) == "edge/errors.py"
    missing = [word for word in ("Promises:", "Leaves out:", "Thread:") if word not in text]
    assert text, f"{_name(path)} has no docstring"
    assert exempt or not missing, f"{_name(path)}: the docstring lacks {missing}"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_no_module_is_longer_than_four_hundred_lines_without_saying_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= 400 or "Longer than 400 lines because" in text, f"{_name(path)} has {lines} lines"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_all_is_sorted_and_packages_hold_no_logic(path: Path) -> None:
    tree = _tree(path)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if _dotted(target) == "__all__":
                assert isinstance(node.value, ast.List)
                names = [element.value for element in node.value.elts if isinstance(element, ast.Constant)]
                assert names == sorted(names, key=_isort_key), f"{_name(path)}: __all__ is not sorted"
    if path.name == "__init__.py" and path != _ROOT / "edge/__init__.py":
        kinds = (ast.Expr, ast.Assign, ast.AnnAssign, ast.ImportFrom)
        assert all(isinstance(node, kinds) for node in tree.body), f"{_name(path)} holds logic"


def _isort_key(name: str) -> tuple[int, str]:
    """As ruff's RUF022 sorts: CONSTANTS, then Classes, then functions."""
    order = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return order, name


@pytest.mark.parametrize("path", [p for p in _SOURCES if _name(p) != "edge/durable.py"], ids=_name)
def test_only_durable_renames_files(path: Path) -> None:
    banned = {"os.replace", "os.rename", "os.renames", "shutil.move"}
    found = [(name, line) for name, line in _calls(path) if name in banned or name.endswith(".rename")]
    assert not found, f"{_name(path)}: {found}; use edge.durable"


@pytest.mark.parametrize("path", [p for p in _SOURCES if _name(p) != "edge/clock.py"], ids=_name)
def test_only_clock_reads_clocks_and_nothing_sleeps(path: Path) -> None:
    allowed = {"time.thread_time", "time.process_time", "time.gmtime", "time.strftime"}  # processor time is no clock
    found = [
        (name, line)
        for name, line in _calls(path)
        if (name.startswith("time.") and name not in allowed)
        or name in {"datetime.now", "datetime.utcnow", "date.today"}
    ]
    assert not found, f"{_name(path)}: {found}; use edge.clock"


@pytest.mark.parametrize("path", [p for p in _SOURCES if _name(p) != "edge/contract/topics.py"], ids=_name)
def test_only_topics_spells_topics(path: Path) -> None:
    docstrings = {id(node.value) for node in ast.walk(_tree(path)) if isinstance(node, ast.Expr)}
    found = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and re.search(r"\be1/|/(dn|up)/", node.value)
        and "\n" not in node.value
    ]
    assert not found, f"{_name(path)}: topics are spelled in lines {found}; use edge.contract.topics"


@pytest.mark.parametrize("path", [p for p in _SOURCES if _name(p) != "edge/device/supervisor.py"], ids=_name)
def test_only_the_supervisor_swallows_any_exception(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ExceptHandler):
            names = [_dotted(n) for n in (node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]) if n]
            if not node.type or "Exception" in names or "BaseException" in names:
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                assert raises, f"{_name(path)}:{node.lineno} swallows {names or 'everything'}"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_native_runtimes_load_inside_the_function_that_opens_them(path: Path) -> None:
    tree = _tree(path)
    if "converters" in path.parts:
        return
    found = [
        (name, node.lineno)
        for node in tree.body
        for name, _ in _imports(node)
        if isinstance(node, ast.Import | ast.ImportFrom) and name.split(".")[0] in _NATIVE
    ]
    assert not found, f"{_name(path)} imports {found} at module level"


def test_a_native_runtime_has_one_address() -> None:
    places: dict[str, set[str]] = {}
    for path in _SOURCES:
        if "converters" in path.parts:
            continue
        for name, _ in _imports(_tree(path)):
            root = name.split(".")[0]
            known = {"paho", "sqlalchemy", "alembic", "psycopg", "zstandard", "PIL", "amqtt", "sqlite3", "segno"}
            if root in _NATIVE | known:
                package = root if root != "sqlite3" else f"{root} in {path.relative_to(_ROOT).parts[1]}"
                places.setdefault(package, set()).add(_name(path))
    many = {
        name: sorted(found)
        for name, found in places.items()
        if len(found) > 1 and name not in {"sqlalchemy", "alembic", "tuf"} and not name.startswith("sqlite3")
    }
    assert not many, many
    for name in ("sqlalchemy", "alembic"):
        assert all(place.startswith("edge/central/store/") for place in places.get(name, set())), places[name]
    trusting = ("edge/central/registry/", "edge/device/updates/")  # those who sign, and those who check
    assert all(place.startswith(trusting) for place in places.get("tuf", set())), places["tuf"]


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_exceptions_end_in_error_and_module_names_say_something(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ClassDef) and any(_dotted(b).endswith(("Error", "Exception")) for b in node.bases):
            assert node.name.endswith("Error"), f"{_name(path)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_log_arguments_are_lazy(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and re.fullmatch(r"_?log(ger)?\.(debug|info|warning|error)", _dotted(node.func)):
            assert node.args, f"{_name(path)}:{node.lineno}"
            assert isinstance(node.args[0], ast.Constant), f"{_name(path)}:{node.lineno} formats before it logs"


def test_no_model_is_ever_opened_by_its_path() -> None:
    for path in _SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Call) and _dotted(node.func).endswith("Interpreter"):
                assert not any(k.arg == "model_path" for k in node.keywords), f"{_name(path)}:{node.lineno}"
