"""What needs no running: style, types, the contracts between the floors, and the size of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
CODE = ("src", "tests", "bench", "demo", "packaging")
MOST_LINES = 600
LARGEST_LOOKED_AT = 2**20  # bytes: beyond that it is no text that somebody wrote
GENERATED = {"requirements.lock", "docs/reference/openapi.json"}

# Where packages come from is the machine's business: a registry's host name in the tree breaks every other site. Written in two halves,
# so that this file is not its own finding.
REGISTRIES = tuple(
    "".join(halves) for halves in (("pypi", ".org"), ("pythonhosted", ".org"), ("deb.debian", ".org"), ("registry.npmjs", ".org"))
)
UNFINISHED = tuple("".join(halves) for halves in (("TO", "DO"), ("FIX", "ME"), ("XX", "X")))
EMPTY_TITLES = ("Manager", "Helper", "Util", "Utils", "Service")  # of classes: they say nothing


@cache
def files() -> tuple[Path, ...]:
    """Every file of the tree that is or may be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    paths = (ROOT / name for name in sorted(set(listed.stdout.decode().split("\0"))) if name)
    return tuple(path for path in paths if path.is_file())


def python_files(*folders: str) -> Iterator[Path]:
    for path in files():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (folders or CODE):
            yield path


def lines_with(words: tuple[str, ...]) -> list[str]:
    """Where any of `words` stands in a text file of the tree."""
    found = []
    for path in files():
        name = str(path.relative_to(ROOT))
        if name in GENERATED or path.stat().st_size > LARGEST_LOOKED_AT:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found += [f"{name}:{number}: {word}" for word in words if word in line]
    return found


def passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    passes(str(PROGRAMS / "ruff"), "check", "--quiet", *CODE)


def test_the_code_is_laid_out_by_ruff() -> None:
    passes(str(PROGRAMS / "ruff"), "format", "--check", "--quiet", *CODE)


@pytest.mark.timeout(600)
def test_mypy_is_strict_and_content() -> None:
    passes(sys.executable, "-m", "mypy", "--strict", *CODE)


def test_each_floor_imports_only_from_those_below_it() -> None:
    passes(str(PROGRAMS / "lint-imports"))


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_test_sleeps() -> None:
    """Waiting is for a condition, with a deadline (rule T1): time passes in `eventually` alone."""
    found = []
    for path in python_files("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr == "sleep"
                and isinstance(node.value, ast.Name)
                and node.value.id == "time"
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module == "time" and any(name.name == "sleep" for name in node.names):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_no_test_is_skipped() -> None:
    """A test that is not run proves nothing: what a machine lacks is said by failing."""
    calls = ("skip", "skipif", "xfail", "importorskip")
    found = []
    for path in python_files("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in calls and ast.unparse(node).startswith("pytest."):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_no_registry_is_named_in_the_tree() -> None:
    assert lines_with(REGISTRIES) == []


def test_nothing_is_left_for_later() -> None:
    assert lines_with(UNFINISHED) == []


def test_a_class_is_named_for_what_it_is() -> None:
    found = []
    for path in python_files("src"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_TITLES):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert found == []


def test_no_shell_is_called_from_the_code() -> None:
    """Argument lists only: what a user wrote never meets a shell."""
    found = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "os.system",
                "os.popen",
                "asyncio.create_subprocess_shell",
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_every_python_package_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {requirement.replace("==", ">=").partition(">=")[0] for requirement in wanted}
    told = (ROOT / "docs" / "dependencies.md").read_text()
    assert {name for name in names if f"| {name} |" not in told} == set()
