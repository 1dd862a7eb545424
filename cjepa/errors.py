"""The one error type that the command line turns into a single clear line."""

_NO_MEMORY = ("can't allocate memory", "not enough memory")
"""In errors of torch on the CPU."""


class UserError(ValueError):
    """Something in the call, a config or a file is wrong and the user can fix it.

    The message is one line: what was wrong, where, what was expected, what to type next.
    ``cjepa`` prints it without a traceback and exits with code 2.
    """

    exit_code = 2


def memory_ran_out(error: Exception) -> bool:
    """Whether Python, numpy or torch, which need not be imported, found too little memory."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    classes = {cls.__name__ for cls in type(error).__mro__}
    return "OutOfMemoryError" in classes or any(text in str(error) for text in _NO_MEMORY)


class TrainingFailed(UserError):
    """The call was right, but its training came to nothing: exit code 1."""

    exit_code = 1
