"""Files of `torch.save`, read without surprises: what a few hundred bytes could make endless is refused beforehand.

torch's own reader calls nothing that it does not know, but it builds whatever the pickle describes. The hash of tuples
in tuples, as keys of a dict, may take a depth that ends the process, or a time without end.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cjepa.errors import UserError
from cjepa.files import replacing

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

MAX_PICKLE_BYTES = 64 << 20
"""Of the pickle inside such a file, which holds all but the tensors' values."""
MAX_TUPLE_VALUES = 1000
"""Of a tuple with all tuples in it."""
_REBUILT = {"_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"}
"""Functions of `torch._utils` that make plain tensors; the others make sparse, quantised or nested ones."""


def load_tensors(path: Path, mmap: bool = False, what: str = "a file of tensors") -> Any:
    """What a file of ``torch.save`` holds, on the CPU.

    Args:
        path: in torch's zip format, which is that of torch 1.6 and later.
        mmap: leave the values in the file until they are used.
        what: the file should be, for errors.

    Raises:
        UserError: another format, damaged, larger than it can be, or made of more than plain tensors, numbers, text
            and collections.
    """
    import torch

    try:
        check_pickle(stored_pickle(path)[1])
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Refused as refusal:
        reason = f" ({refusal})"
    except Exception as error:  # damage has many faces, and some of torch's texts advise to load the file unsafely
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f" (it asks for {named[1]})" if named else ""
    raise UserError(f"{path}: not {what}, or damaged{reason}")


def write_tensors(path: Path, content: Any) -> None:
    """Write what :func:`load_tensors` reads, all of it or nothing.

    Args:
        path: of the file; its folder is made if it is missing.
        content: for ``torch.save``, whose own writer does not say why a file cannot be written.

    Raises:
        OSError: the disk is full, or nothing can be written there.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getbuffer())


class Refused(ValueError):
    """What is wrong, without the file."""


def check_pickle(content: bytes, plain: bool = True) -> None:
    """Refuse a pickle that would build tuples of more values than any checkpoint has.

    Args:
        content: the pickle.
        plain: also refuse names that stand for tensors that are not plain; for a reader that calls what is named.

    Raises:
        Refused: what it asks for.
    """
    values: list[int] = []  # on the unpickler's stack: of each tuple how many values it has, 0 for all else
    marks: list[int] = []
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "MARK":
            marks.append(len(values))
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = values[-1]
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = values[-1]
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            values.append(memo[argument])
        else:
            taken = _take(opcode, values, marks)
            made = 0
            if opcode.name.startswith("TUPLE"):
                made = 1 + sum(max(1, part) for part in taken)
                if made > MAX_TUPLE_VALUES:
                    raise Refused(f"it makes a tuple of more than {MAX_TUPLE_VALUES:,} values")
            elif opcode.name == "GLOBAL" and plain:
                _check_name(*argument.split(" ", 1))
            values += [made] * len(opcode.stack_after)


def check_plain_tensor(where: str, tensor: "torch.Tensor") -> None:
    """Refuse a tensor whose values do not stand one by one in the file.

    Raises:
        UserError: sparse, quantised, nested, complex or without values; or larger than what is stored of it.
    """
    import torch

    is_strided = tensor.layout is torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
    if not is_strided or tensor.is_quantized or tensor.is_complex():
        raise UserError(f"{where}: a tensor of {tensor.dtype}, {tensor.layout}; expected plain real numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"{where}: a tensor {tuple(tensor.shape)} of which fewer values are stored")


def stored_pickle(path: Path) -> tuple[str, bytes]:
    """Folder and contents of the pickle of a zip file whose entries cannot become larger than the file.

    Raises:
        Refused: entries overlap or are compressed, or the pickle is too large.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
        if len({entry.filename for entry in entries}) < len(entries) or stored > path.stat().st_size:
            raise Refused("its entries overlap")
        if packed := [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            raise Refused(f"{packed[0]} is compressed")
        (name,) = (entry.filename for entry in entries if entry.filename.endswith("/data.pkl"))
        if archive.getinfo(name).file_size > MAX_PICKLE_BYTES:
            raise Refused(f"{name} has over {MAX_PICKLE_BYTES >> 20} MB")
        return name.removesuffix("data.pkl"), archive.read(name)


def _take(opcode: pickletools.OpcodeInfo, values: list[int], marks: list[int]) -> Iterable[int]:
    """What an opcode takes from the stack."""
    before = opcode.stack_before
    start = len(values) - len(before)
    if pickletools.markobject in before:
        start = marks.pop() - before.index(pickletools.markobject)
    if start < 0:
        raise ValueError("too few values on the stack")
    taken = values[start:]
    del values[start:]
    return taken


def _check_name(module: str, name: str) -> None:
    is_rebuilding = module in ("torch._utils", "torch._tensor") and name not in _REBUILT
    if is_rebuilding or name.endswith(("Tensor", "bytearray")):  # which take a size and no values
        raise Refused(f"it asks for {module}.{name}; expected plain tensors")
