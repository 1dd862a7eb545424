"""The command line: finds the verb, loads only what it needs, prints what comes back.

Nothing else in the package prints. Exit codes: 0 done, 1 a check failed, 2 the call is wrong, 130 interrupted.
"""

import argparse
import errno
import importlib
import os
import re
import sys
import traceback
from typing import NamedTuple

from cjepa import __version__, interrupts
from cjepa.command_result import OPTIONS_FILE, OUTCOME_FILE, CommandResult
from cjepa.configuration.own_code import forgotten_init, own_place
from cjepa.errors import UserError, memory_ran_out
from cjepa.quiet import silence_lightning


class Verb(NamedTuple):
    """A command: what it does, and which of its arguments are positional."""

    help: str
    positional: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """What a command that did not work ends with."""

    exit_code: int
    line: str


_DISK_IS_FULL = "the disk is full; free some space, then repeat the command"
_LESS_MEMORY = "give smaller numbers for what is computed at once, such as num_samples of a planner or batch_size"
VERBS = {  # of one word or two; `NAME` is `NAME_command` in commands/NAME.py, `bench NAME` is in bench/NAME.py
    "collect": Verb("record episodes of a policy in an environment"),
    "inspect": Verb("show what a file or folder contains", ("path",)),
    "verify": Verb("verify checksums and completeness", ("path",)),
    "preview": Verb("draw pictures and a video of a few random episodes", ("path",)),
    "convert": Verb("convert another project's data into an episode or token file", ("src", "dst")),
    "questions": Verb("make a question file about Collide episodes, in CLEVRER's format", ("episodes",)),
    "tokenize": Verb("encode the frames of an episode file as tokens", ("run", "episodes")),
    "plan": Verb("plan held-out pairs in closed loop with a world model", ("run",)),
    "plan-baselines": Verb("baselines on the same pairs: random actions, CEM on the simulator"),
    "intervene": Verb("compare influence graphs and counterfactuals of a world model with the simulator", ("run",)),
    "answer": Verb("answer questions about held-out episodes with a world model", ("run", "questions")),
    "explore": Verb("serve a local web page: change an object, see model beside simulator", ("run",)),
    "study": Verb("run the stages of a study YAML; table of results, report", ("study",)),
    "sweep": Verb("run an experiment over values of its options and seeds; rank by validation", ("experiment",)),
    "compare": Verb("compare runs, or the models of a study: differences with intervals, curves", ("runs",)),
    "report": Verb("write or update the HTML report of a run or a study", ("folder",)),
    "export": Verb("write weights (safetensors), config and model card to share", ("run",)),
    "import-official": Verb("turn released weights of the published C-JEPA code into a model of ours", ("ckpt",)),
    "bench loader": Verb("time clips per second, compared with other readers"),
    "bench tokenize": Verb("time frames per second and memory of every tokenizer"),
    "bench planner": Verb("time one plan, compared with the published search"),
    "bench train": Verb("time training steps per second, compared with PyTorch's own layers"),
    "init": Verb("copy the experiments' YAML files into a folder, where only a wheel is installed", ("folder",)),
    "info": Verb("show versions and devices, for bug reports"),
}
_PYTHONS_ABSTRACT = re.compile(r"Can't instantiate abstract class (\w+) with(?:out an .*?for)? abstract methods? (.*)")
_ADD_METHODS = "add what its base class asks for"
RESUMABLE = ("collect", "tokenize", "plan", "plan-baselines", "study", "sweep")
LIGHTNING_VERBS = {
    "fit": "train a tokenizer or a world model",
    "validate": "compute validation metrics of a run: `cjepa validate RUN`",
    "test": "compute all metrics of a run on test episodes, with intervals: `cjepa test RUN`",
    "predict": "write predictions of a run on test episodes to predictions.pt: `cjepa predict RUN`",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return the exit code."""
    # Threads that spin while they wait make two-core machines crawl as soon as anything else runs on them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls
    if options_file := os.environ.pop(OPTIONS_FILE, None):
        return _read_options(options_file)
    argv = sys.argv[1:] if argv is None else argv
    group = next((f"{argv[0]} " for verb in VERBS if argv and verb.startswith(f"{argv[0]} ")), "")
    if argv[bool(group) :] in ([], ["-h"], ["--help"]):
        _say(_overview(group))
        return 0
    if argv == ["--version"]:
        _say(f"cjepa {__version__}")
        return 0
    outcome_file = os.environ.pop(OUTCOME_FILE, None)
    with interrupts.passed_on():
        return _run(argv) if outcome_file is None else _run_stage(argv, outcome_file)


def _run(argv: list[str]) -> int:
    """Run a command that a user has typed."""
    try:
        done = execute(argv)
        _show(done)
    except SystemExit:  # after --help
        _reader_has_gone()
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return 0
        refusal = _refusal(error)
        if refusal is None:
            raise
        print(f"cjepa {_typed_verb(argv)}: error: {refusal.line}", file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"cjepa {_typed_verb(argv)}: interrupted{_how_to_go_on(argv[0], str(interrupt))}", file=sys.stderr)
        return 130
    return int(done.failed)


def _typed_verb(argv: list[str]) -> str:
    """The first word, or two that are a command."""
    return " ".join(argv[:2]) if " ".join(argv[:2]) in VERBS else argv[0]


def _how_to_go_on(verb: str, command: str) -> str:
    """The end of the line about an interrupt; ``command`` continues what was saved, empty where that has none."""
    if command:
        return f"; to continue, type: {command}"
    if verb == "fit":
        return "; nothing was saved, repeat the command to start again"
    return "; repeat the command to continue" if verb in RESUMABLE else ""


def _run_stage(argv: list[str], outcome_file: str) -> int:
    """Run a stage of a study: what it would show at its end goes into a file that the study reads."""
    from cjepa.files import write_json

    code, error, trace = 0, "", ""
    try:
        done = execute(argv)
        if done.failed:
            code, error = 1, " ".join(done.lines)
    except KeyboardInterrupt:
        return 130
    except Exception as problem:
        refusal = _refusal(problem)
        if refusal is None:  # a bug: the study's user gets one line, the rest goes into a file
            refusal = Refusal(1, f"{type(problem).__name__}: {_one_line(problem)}")
            trace = traceback.format_exc()
        code, error = refusal
    write_json(outcome_file, {"error": error, "traceback": trace})
    return code


def _read_options(file: str) -> int:
    """Read the options of a study's command lines; what is wrong with them goes into the file that they are from."""
    from cjepa.files import read_json, write_json

    write_json(file, [option_fault(argv) for argv in read_json(file)])
    return 0


def option_fault(argv: list[str]) -> str:
    """What a command says against its options, without running it; empty where it takes them."""
    try:
        execute(argv, only_options=True)
    except Exception as problem:
        refusal = _refusal(problem)
        return "" if refusal is None else refusal.line  # a bug shows itself when the command runs
    return ""


def execute(argv: list[str], only_options: bool = False) -> CommandResult:
    """Run one command line without catching errors, or only read its options."""
    from cjepa.configuration.class_paths import look_in_current_folder
    from cjepa.configuration.function_options import call
    from cjepa.configuration.moved import current, teach_parsers
    from cjepa.configuration.parser_messages import meant

    teach_parsers()
    look_in_current_folder()
    argv = current(argv)
    _check_configs(argv)
    verb = _typed_verb(argv)
    rest = argv[1 + verb.count(" ") :]
    if verb in LIGHTNING_VERBS:
        silence_lightning()
        return _lightning(verb, rest, only_options)
    if verb not in VERBS:
        typed = " ".join(argv[: 1 + any(name.startswith(f"{verb} ") for name in VERBS)])
        hint = meant(typed, [*VERBS, *LIGHTNING_VERBS]) or "; `cjepa --help` lists them"
        raise UserError(f"no such command {typed!r}{hint}")
    silence_lightning()
    group, _, name = verb.replace("-", "_").rpartition(" ")
    function = getattr(importlib.import_module(f"cjepa.{group or 'commands'}.{name}"), f"{name}_command")
    return call(function, VERBS[verb].positional, rest, f"cjepa {verb}", VERBS[verb].help, _say, only_options)


def _check_configs(argv: list[str]) -> None:
    """The parsers' own messages about a file that is no YAML mapping do not name the file."""
    from cjepa.configuration.yaml_files import given_configs, read_yaml

    for file in given_configs(argv):
        if not isinstance(read_yaml(file), dict):
            raise UserError(f"{file}: not a YAML file of options, `name: value`")


def _lightning(verb: str, rest: list[str], only_options: bool) -> CommandResult:
    from cjepa.configuration.class_paths import asks_for_help, import_choices
    from cjepa.lightning_cli import CJEPACLI
    from cjepa.options_only import OptionsOnly

    if asks_for_help(rest):
        import_choices()
    return (OptionsOnly if only_options else CJEPACLI)([verb, *rest]).result()


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _reader_has_gone()


def _reader_has_gone() -> bool:
    """Whether the program that read our output has ended, as `head` does; what is still written then goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _show(done: CommandResult) -> None:
    if done.table:
        widths = [max(map(len, column)) for column in zip(*done.table, strict=True)]
        for row in done.table:
            _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in done.lines:
        _say(line)
    if done.next_command:
        _say(f"next: {done.next_command}")


def _overview(group: str) -> str:
    rows = {**{name: verb.help for name, verb in VERBS.items()}, **LIGHTNING_VERBS}
    lines = [f"  {name:<16}{text}" for name, text in rows.items() if name.startswith(group)]
    return "\n".join(
        [
            "usage: cjepa COMMAND [-c FILE]... [--key value]...",
            "",
            "Object-centric world models: pixels to object tokens, latent interventions, planning.",
            "",
            *lines,
            "",
            "`cjepa COMMAND --help` explains one; start with `cjepa study experiments/studies/quickstart.yaml`.",
        ]
    )


def _refusal(error: Exception) -> Refusal | None:
    """What a user is told of an error; None for a bug."""
    if forgotten := forgotten_init(error):
        return Refusal(2, forgotten)
    if memory_ran_out(error):
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        when = f" when {asked[1]} more were needed" if asked else ""
        return Refusal(1, f"memory ran out{when}; {_LESS_MEMORY}")
    if isinstance(error, UserError | argparse.ArgumentError | OSError):
        return Refusal(getattr(error, "exit_code", 2), f"{_one_line(error)}{own_place(error)}")
    return None


def _one_line(error: Exception) -> str:
    from cjepa.configuration.class_paths import HOW_TO_FIND
    from cjepa.configuration.parser_messages import one_line

    line = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{_DISK_IS_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror}"
    if unknown := re.search(r"given class_path '([\w.]+)': (No module named '[\w.]+')", line):
        return f"{unknown[1]}: {unknown[2]}; {HOW_TO_FIND}"
    if isinstance(error, argparse.ArgumentError):
        line = one_line(str(error))
    abstract = re.search(r"but ([\w.]+)\.(\w+) is abstract", line)  # jsonargparse does not say which methods it lacks
    if abstract:
        missing = getattr(importlib.import_module(abstract[1]), abstract[2]).__abstractmethods__
        return f"{line}: it lacks {', '.join(sorted(missing))}; {_ADD_METHODS}"
    return _PYTHONS_ABSTRACT.sub(rf"\1 is abstract: it lacks \2; {_ADD_METHODS}", line)


if __name__ == "__main__":
    sys.exit(main())
