"""How to build a tokenizer again: a class path and plain arguments, from what a user types or a file holds.

Token files and world models' checkpoints hold such a specification.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from cjepa.checkpoints import find_checkpoint
from cjepa.configuration.moved import current
from cjepa.configuration.yaml_files import parse_yaml
from cjepa.data.store.episodes import Episodes
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer

_TRAINED = "cjepa.tokenizers.training.load_tokenizer"
_PATCHES = "cjepa.tokenizers.baselines.patches.PatchTokenizer"
_ORACLE = "cjepa.tokenizers.oracle.OracleTokenizer"
_DINO = "cjepa.tokenizers.features.DinoV2Features"
_KEYS_BEFORE = {"source", "patch_grid", "bodies", "attributes"}
_CLASS_PATH = re.compile(r"([^\W\d]\w*\.)+[A-Z]\w*")


class TokenizerSpec(NamedTuple):
    """What it takes to build a tokenizer again."""

    class_path: str
    """Import path of a subclass of :class:`Tokenizer`, or of a function that returns one."""
    init_args: dict[str, Any]
    """Its arguments as plain values; those that are objects are a ``class_path`` with ``init_args`` again."""

    def plain(self) -> dict[str, Any]:
        """As plain values, for files."""
        return {"class_path": self.class_path, "init_args": self.init_args}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> "TokenizerSpec":
        """From what a token file or a checkpoint holds, those written before 0.3.0 included.

        Raises:
            UserError: it is not such a specification.
        """
        if "source" in content and set(content) <= _KEYS_BEFORE:
            return _from_source(**content)
        if set(content) != {"class_path", "init_args"} or not isinstance(content["init_args"], Mapping):
            raise UserError(f"expected class_path and init_args of a tokenizer, not {dict(content)}")
        return cls(**current(dict(content)))

    def __str__(self) -> str:
        """What to call it in messages: the checkpoint or model that it is made of, or its class path."""
        for name in ("checkpoint", "source"):
            if name in self.init_args:
                return str(self.init_args[name])
        within = self.init_args.get("trained")
        return self.class_path if within is None else f"patches of {TokenizerSpec(**within)}"


def tokenizer_spec(run: str | Mapping[str, Any], episodes: Episodes, patch_grid: int = 0) -> TokenizerSpec:
    """From what a user types, for these episodes: the one place that knows the short words.

    Args:
        run: a run folder, a checkpoint or ``zoo:NAME``; ``oracle`` for the simulator's own account of the objects,
            ``oracle:x,y`` for these of its attributes, ``oracle:D`` for a random projection of all to D values;
            ``dino:SOURCE`` for patches of a pretrained DINOv2, see
            :class:`~cjepa.tokenizers.features.DinoV2Features`; or the class path of a tokenizer, alone or in a
            mapping (also as text) with its ``init_args``.
        episodes: that are to be tokenized.
        patch_grid: g for a g x g grid of its features in place of its own tokens; 0 for the tokens.

    Raises:
        UserError: there is no such checkpoint or class; for a DINOv2, no grid is asked for; for an oracle, one is, or
            the episodes have no ``objects``, or D is not a number above 0.
    """
    if isinstance(run, str) and run.partition(":")[0] == "oracle":
        if patch_grid:
            raise UserError(f"patch_grid {patch_grid}: an oracle has no grid; leave out patch_grid")
        return _with_episodes(_oracle(run), episodes)
    if isinstance(run, str) and run.startswith("dino:"):
        if not patch_grid:
            raise UserError(f"{run}: DINOv2 provides only patches; set patch_grid (14 keeps all)")
        return _patches(TokenizerSpec(_DINO, {"source": run.removeprefix("dino:")}), patch_grid)
    spec = _named_class(run)
    if spec is None:
        spec = TokenizerSpec(_TRAINED, {"checkpoint": run if run.startswith("zoo:") else str(find_checkpoint(run))})
    else:
        spec = _with_episodes(spec, episodes)
    return _patches(spec, patch_grid) if patch_grid else spec


def build_tokenizer(spec: TokenizerSpec) -> Tokenizer:
    """The frozen tokenizer in eval mode. Weights that are drawn, not loaded, are the same every time.

    Raises:
        UserError: the class or its checkpoint is missing, is not a tokenizer's, or does not take these arguments.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Tokenizer, "tokenizer", required=True)
    try:
        checked = parser.parse_object({"tokenizer": spec.plain()}).as_dict()["tokenizer"]
    except ArgumentError as error:
        raise UserError(f"{spec.class_path}: {_reason(error)}") from None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _built(checked).requires_grad_(False).eval()
    except ValueError as error:  # what a constructor refuses; what is wrong with a checkpoint names its file
        name = "" if spec.class_path == _TRAINED else f"{spec.class_path.rpartition('.')[2]}: "
        raise UserError(f"{name}{error}") from error


def _built(value: Any) -> Any:
    """Plain values with every class path in them replaced by what it makes of its arguments."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = {name: _built(argument) for name, argument in value.get("init_args", {}).items()}
        return _imported(value["class_path"])(**arguments)
    return [_built(entry) for entry in value] if isinstance(value, list) else value


def _imported(class_path: str) -> Callable:
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{class_path}: {error}; give the import path of a tokenizer") from error
    except Exception as error:  # of a module of the user's own
        raise UserError(f"{class_path}: {error}") from error


def _reason(error: ArgumentError) -> str:
    """In one line what is wrong with the arguments, without the parser's account of its search."""
    found = re.search(r"Errors:\n *- (.*?)\n *- Expected a <class 'NoneType'>", str(error), re.DOTALL)
    text = re.sub(r"Problem with given class_path '[^']*':", "", found[1] if found else str(error))
    return " ".join(text.split())


def _oracle(run: str) -> TokenizerSpec:
    if run == "oracle":
        return TokenizerSpec(_ORACLE, {})
    if re.fullmatch("oracle:[1-9][0-9]*", run):
        return TokenizerSpec(_ORACLE, {"dim": int(run.partition(":")[2])})
    if re.fullmatch("oracle:[a-z_]+(,[a-z_]+)*", run):
        return TokenizerSpec(_ORACLE, {"kept": run.partition(":")[2].split(",")})
    raise UserError(f"{run}: expected `oracle`, `oracle:x,y` with attributes, or `oracle:D` with D values per token")


def _patches(spec: TokenizerSpec, grid: int) -> TokenizerSpec:
    return TokenizerSpec(_PATCHES, {"trained": spec.plain(), "grid": grid})


def _with_episodes(spec: TokenizerSpec, episodes: Episodes) -> TokenizerSpec:
    """With the arguments that the episodes decide, unless they are given."""
    factory = _imported(spec.class_path)
    decided = factory.init_args_from(episodes) if hasattr(factory, "init_args_from") else {}
    return spec._replace(init_args=decided | spec.init_args)


def _named_class(run: str | Mapping[str, Any]) -> TokenizerSpec | None:
    """The class that a user names, or None for a path or a word."""
    if isinstance(run, str) and run.lstrip().startswith("{"):
        try:
            run = parse_yaml(run)
        except yaml.YAMLError as error:
            raise UserError(f"{run}: not valid YAML ({' '.join(str(error).split())})") from None
    if isinstance(run, Mapping):
        return TokenizerSpec.from_plain({"init_args": {}, **run})
    is_class = _CLASS_PATH.fullmatch(run) and not Path(run).exists()
    return TokenizerSpec(run, {}) if is_class else None


def _from_source(source: str, patch_grid: int = 0, bodies: int = 0, attributes: Sequence[str] = ()) -> TokenizerSpec:
    """From the four values that files held before 0.3.0."""
    if source.partition(":")[0] == "oracle":
        spec = _oracle(source)
        return spec._replace(init_args={"num_bodies": bodies, "attributes": list(attributes), **spec.init_args})
    if source.startswith("dino:"):
        spec = TokenizerSpec(_DINO, {"source": source.removeprefix("dino:")})
    else:
        spec = TokenizerSpec(_TRAINED, {"checkpoint": source})
    return _patches(spec, patch_grid) if patch_grid else spec
