"""`cjepa fit` without the training: what is wrong with its options is told."""

from contextlib import suppress

from lightning.pytorch.cli import LightningArgumentParser

from cjepa.command_result import CommandResult
from cjepa.lightning_cli import CJEPACLI


class OptionsOnly(CJEPACLI):
    """A call that ends when its options are read: a run or a checkpoint that it names may not be made yet."""

    def __init__(self, args: list[str]):
        if args[0] == "fit":  # the other verbs have the options of their run
            with suppress(_OptionsAreRead):
                super().__init__(args)

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """See Lightning."""
        self.read_options(parser, args)
        raise _OptionsAreRead

    def result(self) -> CommandResult:
        """Nothing."""
        return CommandResult([])


class _OptionsAreRead(Exception):
    """Ends a call, from inside of Lightning's constructor."""
