"""Errors that Lightning and constructors raise for a wrong call, turned into errors of the user."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cjepa.configuration.parser_messages import one_line, with_key
from cjepa.errors import UserError


@contextmanager
def built(config: Namespace) -> Iterator[None]:
    """Around the making of model, data and trainer: constructors may refuse an argument.

    Args:
        config: that they are made from.

    Raises:
        UserError: in the constructor's words, with the argument's key.
    """
    try:
        yield
    except (ValueError, MisconfigurationException) as error:
        said: BaseException = error  # by the parser, of what the constructor said
        while said.__cause__ is not None and not isinstance(said, UserError):
            said = said.__cause__
        raise UserError(with_key(one_line(str(said)), config)) from error


@contextmanager
def run(checkpoint: str | None) -> Iterator[None]:
    """Around a verb: something may be missing or not fit.

    Args:
        checkpoint: path that the call names, for the message; None if it names none.

    Raises:
        UserError: a wrong call in one line; other errors pass unchanged.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(str(error)) from error
    except RuntimeError as error:
        if "in loading state_dict" not in str(error):
            raise
        reason = "its weights do not fit the model of the config; train the model again"
        raise UserError(f"{checkpoint}: {reason}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError) or not _restores(error):
            raise
        reason = f"its state of training is damaged and cannot be continued ({type(error).__name__}: {error})"
        raise UserError(f"{checkpoint}: {reason}") from error


def _restores(error: Exception) -> bool:
    """Whether Lightning was taking a training's state out of a checkpoint; what it expects there is its own affair."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).name == "checkpoint_connector.py" for frame in frames)
