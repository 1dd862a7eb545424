"""What an error has to do with the user's own classes and modules: its text alone would not tell."""

import inspect
import sysconfig
import traceback
from pathlib import Path
from types import CodeType

from cjepa.errors import UserError

_OTHERS = (Path(__file__).parents[1], *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")))


def own_place(error: BaseException) -> str:
    """File, line and class of an error that comes from the user's own code, in brackets; empty of any other error."""
    error = _first(error)
    if isinstance(error, UserError | OSError):
        return ""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_own(_file(frame.f_code))]
    if not frames:
        return ""
    (outer, _), (inner, line) = frames[0], frames[-1]
    owner = f", in {type(outer.f_locals['self']).__name__}" if "self" in outer.f_locals else ""
    return f" ({_file(inner.f_code).name}, line {line}{owner})"


def forgotten_init(error: BaseException) -> str:
    """What to do where an own class lacks attributes, its base class never set up; empty of any other error."""
    error = _first(error)
    if not isinstance(error, AttributeError):
        return ""
    last = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    for lacking in (error.obj, *(frame.f_locals.get("self") for frame in last)):
        classes = type(lacking).__mro__[:-1]
        for place, cls in enumerate(classes):
            init = vars(cls).get("__init__")
            inherits = any("__init__" in vars(base) for base in classes[place + 1 :])
            if not inherits or not inspect.isfunction(init) or "__init__" in init.__code__.co_names:
                continue
            if _is_own(file := _file(init.__code__)):
                where = f"{file.name}, line {init.__code__.co_firstlineno}"
                return f"{cls.__name__}.__init__ ({where}) never calls super().__init__(); call it there, first of all"
    return ""


def _first(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _file(code: CodeType) -> Path:
    return Path(code.co_filename)


def _is_own(file: Path) -> bool:
    return file.is_file() and not any(file.is_relative_to(folder) for folder in _OTHERS)
