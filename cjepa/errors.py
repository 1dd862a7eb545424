"""The one error type that the command line turns into a single clear line."""


class UserError(ValueError):
    """Something in the call, a config or a file is wrong and the user can fix it.

    The message is one line: what was wrong, where, what was expected, what to type next.
    ``cjepa`` prints it without a traceback and exits with code 2.
    """

    exit_code = 2


class TrainingFailed(UserError):
    """The call was right, but its training came to nothing: exit code 1."""

    exit_code = 1
