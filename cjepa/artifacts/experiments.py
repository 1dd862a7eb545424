"""The YAML files of the experiments: a clone has them beside the package, a wheel inside."""

import shutil
from pathlib import Path

import cjepa
from cjepa.files import new_folder

PACKAGE = Path(cjepa.__file__).parent


def copy_experiments(folder: Path) -> Path:
    """Copy all YAML files of experiments/ into ``folder/experiments``.

    Returns:
        The new folder.

    Raises:
        UserError: it exists and is not empty. It is made as a whole or not at all.
    """
    inside = PACKAGE / "experiments"
    source = inside if inside.is_dir() else PACKAGE.parent / "experiments"
    with new_folder(folder / "experiments", "folder") as made:
        for path in sorted(source.rglob("*.yaml")):
            target = made / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder / "experiments"
