"""From stored data to tokens: the columns that a tokenizer reads, tokens as in token files, its fingerprint."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from cjepa.data.workers import thread_map
from cjepa.devices import cpu_threads
from cjepa.errors import UserError
from cjepa.shapes import check_given
from cjepa.tokenizers.base import Memory, Tokenizer, float_frames
from cjepa.tokenizers.hints import hints_from_labels
from cjepa.types import Tokens, VideoBatch

_MOST_THREADS = 16  # every thread holds a batch or two
_Batch, _Encoded = TypeVar("_Batch"), TypeVar("_Encoded")


def read_columns(tokenizer: Tokenizer) -> set[str]:
    """Columns of an episode file that the tokenizer reads."""
    return {tokenizer.info.column, "masks"} if tokenizer.info.hint_dim else {tokenizer.info.column}


def clips_of(columns: Mapping[str, Tensor]) -> VideoBatch:
    """Columns of an episode file, ``(B, T, ...)`` by name, as what a tokenizer looks at."""
    return VideoBatch(columns.get("pixels"), columns.get("masks"), columns.get("objects"))


def tokenizer_inputs(tokenizer: Tokenizer, batch: VideoBatch) -> tuple[Tensor, ...]:
    """What ``encode`` and ``loss_terms`` take of clips: frames or objects, and hints at the first frame's objects.

    Raises:
        UserError: the frames have another size, or the tokenizer takes hints and the clips have no label images.
    """
    seen_BT = _seen(tokenizer, batch)
    return (seen_BT, _hints(tokenizer, batch)) if tokenizer.info.hint_dim else (seen_BT,)


def _seen(tokenizer: Tokenizer, batch: VideoBatch) -> Tensor:
    """The one place that asks what a tokenizer looks at."""
    if tokenizer.info.column == "objects":
        return batch.objects_BTOF
    return float_frames(tokenizer, batch.pixels_BTYXC)


def _hints(tokenizer: Tokenizer, batch: VideoBatch) -> Tensor:
    if batch.labels_BTYX is None:
        raise UserError(
            f"{type(tokenizer).__name__} needs hints from label images, which these clips do not have; set "
            "data.init_args.labels to true, and collect episodes with masks"
        )
    return hints_from_labels(batch.labels_BTYX[:, 0], tokenizer.num_slots, tokenizer.info.hint_dim)


def encode_clips(
    tokenizer: Tokenizer, batch: VideoBatch, dtype: torch.dtype = torch.float32, at_once: int | None = None
) -> Tensor:
    """Whole clips -> tokens ``(B, T, S, D)`` on the CPU, under bf16 autocast as token files are made.

    Args:
        tokenizer: in eval mode.
        batch: clips; the columns that the tokenizer does not read may be None.
        dtype: of the tokens, which are rounded before they leave the tokenizer's device.
        at_once: frames of a clip that are encoded together, so that memory does not grow with its length; None: all.
    """
    length = max(1, next(values.shape[1] for values in batch if values is not None))
    parts, memory = [], None
    for first in range(0, length, at_once or length):
        slots_BTSD, memory = _step(tokenizer, batch.blocks(first, at_once and first + at_once), memory)
        parts.append(slots_BTSD.to(dtype).cpu())
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def step_clips(tokenizer: Tokenizer, batch: VideoBatch, memory: Memory = None) -> tuple[Tensor, Memory]:
    """The next frames of clips, see :meth:`Tokenizer.step`, encoded as in :func:`encode_clips`.

    Args:
        tokenizer: in eval mode.
        batch: the next frames, most often one, of B environments; label images matter only where clips begin.
        memory: of the step before; None where clips begin.

    Returns:
        float32 tokens of these frames ``(B, T, S, D)`` on the CPU, and the memory, on the tokenizer's device.
    """
    slots_BTSD, memory = _step(tokenizer, batch, memory)
    return slots_BTSD.cpu(), memory


@torch.inference_mode()
def _step(tokenizer: Tokenizer, batch: VideoBatch, memory: Memory) -> tuple[Tensor, Memory]:
    """As :func:`step_clips`, but the tokens are on the tokenizer's device too."""
    device = device_of(tokenizer)
    batch = batch.on(device)
    with torch.autocast(device.type, torch.bfloat16):
        hints_BSH = _hints(tokenizer, batch) if tokenizer.info.hint_dim and memory is None else None
        seen_BT = _seen(tokenizer, batch)
        tokens, memory = tokenizer.step(seen_BT, memory, hints_BSH)
    expected = (*seen_BT.shape[:2], tokenizer.num_slots, tokenizer.slot_dim)
    name = f"{type(tokenizer).__name__}.encode"
    if not isinstance(tokens, Tokens):  # of a user's own class
        raise UserError(f"{name} gives a {type(tokens).__name__}, expected Tokens")
    check_given(tokens.slots_BTSD, expected, f"{name}: slots_BTSD")
    return tokens.slots_BTSD.float(), memory


def fingerprint(tokenizer: Tokenizer) -> str:
    """16 hex digits that change with the kind of tokenizer, its options and any weight."""
    digest = hashlib.sha256(f"{tokenizer.num_slots} {tokenizer.slot_dim}".encode())
    for part in tokenizer.modules():  # patches are made by a tokenizer within
        if isinstance(part, Tokenizer):
            digest.update(f"{type(part).__name__} {part.info.revision} {part.info.options}".encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def in_parallel(
    tokenizer: Tokenizer, encode: Callable[[_Batch], _Encoded], batches: Iterable[_Batch]
) -> Iterator[_Encoded]:
    """``map(encode, batches)``, in order, with as many batches at a time as PyTorch has threads.

    Slots take many small operations, so that a thread for each batch is nearly twice as fast as two cores for the same
    batch. On an accelerator batches come one after the other.

    Args:
        tokenizer: that encodes.
        encode: a batch.
        batches: read in the calling thread, a few ahead.
    """
    threads = min(torch.get_num_threads(), _MOST_THREADS) if device_of(tokenizer).type == "cpu" else 1
    with cpu_threads(1):
        yield from thread_map(encode, batches, threads, 2 * threads, partial(torch.set_num_threads, 1))


def device_of(module: nn.Module) -> torch.device:
    """Where its weights are; the CPU if it has none."""
    first = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if first is None else first.device
