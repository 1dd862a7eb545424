"""`cjepa tokenize`: frames to tokens."""

from pathlib import Path

from jsonargparse.typing import NonNegativeInt

from cjepa.command_result import CommandResult
from cjepa.commands.options import next_fit
from cjepa.counts import number_of
from cjepa.data.splits import excluded_episodes
from cjepa.data.store.shards import open_episodes
from cjepa.devices import chosen_device
from cjepa.progress import ProgressBar
from cjepa.tokenizers.specs import tokenizer_spec
from cjepa.tokenizers.token_files import tokenize

YAMLS_TOKEN_DIM = 34
"""That cjepa.yaml of both environments sets, for slots of their tokenizer.yaml."""


def tokenize_command(
    run: str,
    episodes: str,
    out: str,
    patch_grid: NonNegativeInt = 0,
    resume: bool = True,
    exclude_episodes: tuple[int, ...] = (),
    exclude_corrupted: bool = False,
    device: str = "auto",
) -> CommandResult:
    """Encode every frame of an episode file into a token file.

    Args:
        run: folder of a tokenizer run, a checkpoint, or ``zoo:NAME``; ``oracle`` for the simulator's attributes of the
            objects, ``oracle:x,y`` for some of them, ``oracle:D`` for their random projection to D values;
            ``dino:SOURCE`` for patches of a pretrained DINOv2, a folder in the layout of ``transformers`` or a name on
            the hub; or the class path of a tokenizer of your own, ``my.module.MyTokenizer`` or ``{class_path:
            my.module.MyTokenizer, init_args: {...}}``.
        episodes: episode file, or folder or glob of several.
        out: new token file.
        patch_grid: 0 for the tokenizer's own tokens; g for a g x g grid of its encoder's features. DINOv2 needs a
            grid; 14 keeps all of its patches.
        resume: reuse the finished episodes of an interrupted run; an existing file is never replaced.
        exclude_episodes: indices of episodes to leave out; the indices and the split of the others do not change.
        exclude_corrupted: check all episodes first, leave out the damaged ones and log their indices.
        device: PyTorch device, such as cpu or cuda; auto uses cuda if there is a GPU.
    """
    used = chosen_device(device)
    source = open_episodes(episodes)
    excluded = excluded_episodes(source, exclude_episodes, exclude_corrupted)
    spec = tokenizer_spec(run, source, patch_grid)
    with ProgressBar("tokenize", source.env_steps, "frames") as bar:
        file = tokenize(spec, source, Path(out), bar, resume, excluded, used)
    slots, width = file.columns["tokens"][0][1:]
    wide = () if width == YAMLS_TOKEN_DIM else ("--model.init_args.predictor.init_args.token_dim", width)
    return CommandResult(
        [f"{out}: {number_of(file.env_steps, 'frame')} as {number_of(slots, 'token')} x {width} ({bar.rate})"],
        next_command=next_fit(source.attributes, "cjepa.yaml", out, *wide),
    )
