"""Hooks of MkDocs: files outside docs/ become pages of the site, so that nothing is written twice."""

import re
from pathlib import Path
from posixpath import relpath

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "data/README.md": "data-files.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
}
"""Pages by files of the repository."""
_ROW = re.compile(r"^\|.*", re.MULTILINE)
_INTERVAL = re.compile(r"\[([-+.\d]+), ([-+.\d]+)\]")
"""In a table, where it may not be broken into two lines."""
REFERENCE = """# Reference

::: cjepa.api

::: cjepa.world_models.dynamics

::: cjepa.planning.planners.base

::: cjepa.tokenizers.base
"""


def on_files(files: Files, config) -> Files:
    """Add the pages that are not in docs/, and the notebooks to download."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_links_of_pages(name, (ROOT / name).read_text())))
    files.append(File.generated(config, "reference.md", content=REFERENCE))
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        files.append(File.generated(config, f"notebooks/{path.name}", content=path.read_text()))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Let pages of docs/ lead to the pages that are made of other files, and keep intervals in one line."""
    name = page.file.src_uri
    markdown = _ROW.sub(lambda row: _INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", row[0]), markdown)
    return markdown if name in PAGES.values() else _links_of_pages(f"docs/{name}", markdown)


def _links_of_pages(name: str, text: str) -> str:
    """Replace links to files of the repository, as seen from file ``name``, by links to pages of the site."""
    here = Path(name).parent.as_posix()
    page = PAGES.get(name, name.removeprefix("docs/"))
    targets = PAGES | {f"docs/{path.relative_to(ROOT / 'docs')}": None for path in (ROOT / "docs").rglob("*.*")}
    targets |= {f"notebooks/{path.name}": None for path in (ROOT / "notebooks").glob("*.ipynb")}
    for target, made in targets.items():
        to = made or target.removeprefix("docs/")
        for opening, closing in (("](", ")"), ("](", "#")):
            old = f"{opening}{relpath(target, here)}{closing}"
            text = text.replace(old, f"{opening}{relpath(to, Path(page).parent.as_posix())}{closing}")
    return text
