"""What users get without a clone: the wheel with its YAML files, and the site of the documentation."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from cjepa import __version__
from cjepa.cli import main
from cjepa.configuration.yaml_files import read_yaml
from cjepa.studies.definition import load_study
from tests.conftest import EXPERIMENTS

ROOT = EXPERIMENTS.parent
YAMLS = {path.relative_to(EXPERIMENTS).as_posix() for path in EXPERIMENTS.rglob("*.yaml")}


def yamls(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}


def test_the_citation_and_the_changelog_name_the_version():
    assert read_yaml(ROOT / "CITATION.cff")["version"] == __version__
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_init_copies_all_experiments_and_they_load(tmp_path, capsys):
    assert main(["init", str(tmp_path / "mine")]) == 0
    copied = tmp_path / "mine/experiments"
    assert yamls(copied) == YAMLS
    assert "cjepa study experiments/studies/quickstart.yaml" in capsys.readouterr().out
    stages = load_study(copied / "studies/quickstart.yaml").stages
    assert all(config.is_relative_to(copied) for stage in stages for config in map(Path, stage.configs))


def test_init_replaces_nothing(tmp_path, capsys):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text("a: 1\n")
    assert main(["init", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert yamls(tmp_path) == {"experiments/mine.yaml"}


@pytest.mark.slow
def test_a_wheel_carries_the_experiments_the_trained_models_and_the_pages(tmp_path):
    copytree(ROOT / "cjepa", tmp_path / "source/cjepa", ignore=ignore_patterns("__pycache__"))
    copytree(EXPERIMENTS, tmp_path / "source/experiments")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        copy(ROOT / name, tmp_path / "source")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path / "wheels"]
    subprocess.run([*build, tmp_path / "source"], check=True)
    (wheel,) = (tmp_path / "wheels").glob("cjepa-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        record = next(name for name in archive.namelist() if name.endswith("/RECORD"))
        recorded = {line.split(",")[0] for line in archive.read(record).decode().splitlines()}
    installed = tmp_path / "site/cjepa"
    assert yamls(installed / "experiments") == YAMLS
    assert {f"cjepa/experiments/{name}" for name in YAMLS} <= recorded
    ours = {path.relative_to(ROOT / "cjepa") for path in (ROOT / "cjepa").rglob("*") if path.suffix != ".pyc"}
    assert [path for path in ours if path.name != "__pycache__" and not (installed / path).exists()] == []

    program = "import sys, cjepa.cli; sys.exit(cjepa.cli.main(['init', sys.argv[1]]))"
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, cwd=tmp_path, check=True)
    assert yamls(tmp_path / "experiments") == YAMLS


@pytest.mark.slow
def test_the_site_of_the_documentation_has_no_dead_link(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (tmp_path / "site" / page).is_file()] == []
    index = (tmp_path / "site/index.html").read_text()
    assert "quickstart.html" in index
    assert re.search(r"\[\d+,\N{NO-BREAK SPACE}\d+\]", index), "an interval of a table stays in one line"
    assert "load_world_model" in (tmp_path / "site/reference.html").read_text()
