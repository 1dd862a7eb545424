"""What is imported is what ``pyproject.toml`` asks pip for, and ``constraints.txt`` pins all that pip brings."""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
DISTRIBUTIONS = {"cv2": "opencv-python", "lance": "pylance", "PIL": "pillow", "yaml": "pyyaml"}
"""Distributions that are not called as the module that they bring."""
OURS = {"cjepa", "tests", *(path.stem for path in (ROOT / "tools").glob("*.py"))}
IN_EXTRAS = {"transformers": "dino", "pyarrow": "lerobot", "stable-worldmodel": "swm"}
"""Distributions that one feature needs, and their extras."""


def imported(folder: str) -> set[str]:
    """Distributions that the Python files of a folder import anywhere, also inside functions."""
    modules = {module for path in (ROOT / folder).rglob("*.py") for module in _modules(ast.parse(path.read_text()))}
    modules = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - OURS
    return {canonicalize_name(DISTRIBUTIONS.get(module, module)) for module in modules}


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def pins() -> dict[str, str]:
    """Versions of constraints.txt by distribution."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def brought(texts: Iterable[str]) -> Iterator[Requirement]:
    """The given requirements and, as far as they are installed here, all that they require in turn."""
    waiting, seen = [(Requirement(text), "") for text in texts], set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        for extra in ("", *requirement.extras):
            if (key := (canonicalize_name(requirement.name), extra)) not in seen:
                seen.add(key)
                waiting += [(Requirement(text), extra) for text in _requires(requirement.name)]


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_the_package_declares_what_it_imports_and_nothing_else():
    assert imported("cjepa") - IN_EXTRAS.keys() == names(REQUIRED)


@pytest.mark.parametrize(("distribution", "extra"), IN_EXTRAS.items())
def test_what_one_feature_imports_is_in_its_extra(distribution, extra):
    assert distribution in imported("cjepa") and distribution in names(EXTRAS[extra])


@pytest.mark.slow
def test_modules_that_are_asked_for_by_name_are_in_the_extra_that_the_error_names():
    found = set()
    for path in (ROOT / "cjepa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional":
                module, extra = (argument.value for argument in node.args)
                found.add((DISTRIBUTIONS.get(module, module.split(".")[0]), extra))
    assert found == {("pylance", "lance"), ("pyarrow", "lance"), ("pyarrow", "lerobot"), ("ray", "ray")}
    assert all(distribution in names(EXTRAS[extra]) for distribution, extra in found)


@pytest.mark.slow
def test_the_extra_for_tests_has_what_tests_and_tools_import():
    # tests/swm has an environment of its own
    declared = names([*REQUIRED, *EXTRAS["test"], *EXTRAS["dino"], *EXTRAS["docs"], *EXTRAS["swm"]])
    assert imported("tests") | imported("tools") <= declared


def test_every_package_that_an_install_brings_is_pinned():
    pinned, missing, wrong = pins(), set(), set()
    for requirement in brought([*REQUIRED, *EXTRAS["test"], *EXTRAS["dino"], *EXTRAS["docs"]]):
        name = canonicalize_name(requirement.name)
        if name == "cjepa":
            continue
        if name not in pinned:
            missing.add(name)
        elif not requirement.specifier.contains(pinned[name], prereleases=True):
            wrong.add(f"{requirement} but {pinned[name]}")
    assert (missing, wrong) == (set(), set())
