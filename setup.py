"""What pyproject.toml cannot say: a wheel carries the YAML files of experiments/, which `cjepa init` copies out."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

EXPERIMENTS = Path(__file__).parent / "experiments"


class BuildWithExperiments(build_py):
    """Puts experiments/ beside the modules; an editable installation reads the clone's own."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._experiments().items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return super().get_outputs(include_bytecode) + [str(target) for target in self._experiments().values()]

    def _experiments(self) -> dict[Path, Path]:
        home = Path(self.build_lib, "cjepa", "experiments")
        return {path: home / path.relative_to(EXPERIMENTS) for path in sorted(EXPERIMENTS.rglob("*.yaml"))}


setup(cmdclass={"build_py": BuildWithExperiments})
