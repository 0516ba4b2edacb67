"""Files of tensors that are written whole or not at all, and in which no byte changes unseen.

A file is safetensors, which anything can look into and nothing executes. Its metadata are one text: the checksum of the
header, taken while 64 zeros stand in the checksum's place, then a manifest in JSON. The manifest holds the checksum of
each tensor and the structure that was saved, so header and tensors vouch for every byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

FORMAT = 1
"""Number of the manifest's layout; raised with every change that older code cannot read."""

KEYS = (str, int, float, bool, type(None))
"""What the keys of a dict may be."""

_MARK = b'"hina_func":"'
_BLANK = b"0" * 64
_DAMAGED = "it is damaged: take another checkpoint"


def write(path: str | os.PathLike[str], value: Any) -> None:
    """Save nested dicts, lists, tuples, numbers, strings and tensors under ``path``, whole or not at all.

    Raises:
        TypeError: for anything else in ``value``; says where.
    """
    tensors: dict[str, Tensor] = {}
    content = _packed(value, "", tensors)
    manifest = {"format": FORMAT, "sha256": {key: _checksum(x) for key, x in tensors.items()}, "content": content}
    text = _BLANK.decode() + json.dumps(manifest, separators=(",", ":"))
    data = memoryview(safetensors.torch.save(tensors, {"hina_func": text}))
    end, start = _header(data)
    assert data[start : start + 64] == _BLANK
    checksum = hashlib.sha256(data[:end]).hexdigest().encode()
    _replace(Path(os.path.realpath(path)), (data[:start], checksum, data[start + 64 :]))


def read(path: str | os.PathLike[str]) -> Any:
    """What `write` saved, tensors on the CPU.

    Raises:
        ValueError: if the file is not to the last byte what `write` wrote; says what is wrong.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise refusal(path, "it is not a file")
    data = Path(path).read_bytes()
    try:
        return opened(data)
    except ValueError as error:
        raise refusal(path, str(error)) from error


def refusal(path: str | os.PathLike[str], problem: str) -> ValueError:
    """The error for a file that is not loaded."""
    return ValueError(f"cannot load {os.fspath(path)!r}: {problem}. Nothing was changed.")


def opened(data: bytes) -> Any:
    """What `write` saved, from the bytes of a file.

    Raises:
        ValueError: as `read`, without the path.
    """
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ValueError("it is a pickle, which is never opened: torch.load(weights_only=True) reads what torch saved")
    end, start = _header(memoryview(data))
    blank = hashlib.sha256(data[:start] + _BLANK + data[start + 64 : end])
    if blank.hexdigest().encode() != data[start : start + 64]:
        raise ValueError(f"the checksum of its header differs; {_DAMAGED}")
    header = _parsed(data[8:end])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        raise ValueError("its header is not that of a checkpoint")
    manifest = _parsed(str(header["__metadata__"].get("hina_func"))[64:].encode())
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict) or "content" not in manifest:
        raise ValueError("its manifest is not that of a checkpoint")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"it has format {manifest.get('format')!r}, this version reads {FORMAT}: update hina_func")
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, AssertionError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"safetensors refuses it ({error}); {_DAMAGED}") from error
    checksums = manifest["sha256"]
    wrong = sorted(key for key, x in tensors.items() if checksums.get(key) != _checksum(x))
    if wrong or tensors.keys() != checksums.keys():
        raise ValueError(f"the checksum of {', '.join(wrong[:5]) or 'a tensor'} differs; {_DAMAGED}")
    try:
        return _unpacked(manifest["content"], tensors)
    except RecursionError as error:
        raise ValueError("its content is nested too deeply") from error


def _header(data: memoryview) -> tuple[int, int]:
    """Where the header ends, and where in it the checksum begins."""
    end = 8 + int.from_bytes(data[:8], "little")
    if not 16 <= end <= len(data):
        raise ValueError(f"it has {len(data)} bytes, which hold no whole header; it is cut off, or no checkpoint")
    start = bytes(data[:end]).find(_MARK) + len(_MARK)
    if start < len(_MARK) or start + 64 > end:
        raise ValueError("it is no checkpoint that save_checkpoint wrote")
    return end, start


def _checksum(x: Tensor) -> str:
    return hashlib.sha256(x.reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _parsed(text: bytes) -> Any:
    """JSON in which no key comes twice."""
    try:
        return json.loads(text.decode(), object_pairs_hook=_distinct)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"its header is no JSON ({error})") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _packed(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON has it; what JSON has not is an object with one key that begins with "$"."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided:
        while path in tensors:
            path += "'"
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"$tensor": path}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        packed = [_packed(item, f"{path}/{i}".lstrip("/"), tensors) for i, item in enumerate(value)]
        return packed if isinstance(value, list) else {"$tuple": packed}
    if isinstance(value, Mapping) and all(isinstance(key, KEYS) for key in value):
        items = [(key, _packed(item, f"{path}/{key}".lstrip("/"), tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            packed_items = dict(items)
        else:
            packed_items = {"$items": [[_packed(key, path, tensors), item] for key, item in items]}
        return {"$counter": packed_items} if isinstance(value, Counter) else packed_items
    raise TypeError(
        "a checkpoint holds numbers, strings, dense tensors, and lists, tuples and dicts of them, the keys being "
        f"numbers or strings; {path or 'it'} is a {type(value).__name__}"
    )


def _unpacked(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_packed`."""
    if isinstance(packed, list):
        return [_unpacked(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    (key, value), *others = packed.items() or [("", None)]
    if others or not key.startswith("$"):
        return {name: _unpacked(item, tensors) for name, item in packed.items()}
    if key == "$tensor" and isinstance(value, str) and value in tensors:
        return tensors[value]
    if key == "$tuple" and isinstance(value, list):
        return tuple(_unpacked(value, tensors))
    if key == "$items" and isinstance(value, list) and all(isinstance(x, list) and len(x) == 2 for x in value):
        names = [_unpacked(name, tensors) for name, _ in value]
        if all(isinstance(name, KEYS) for name in names):
            return dict(zip(names, (_unpacked(item, tensors) for _, item in value), strict=True))
    if key == "$counter" and isinstance(value, dict):
        return Counter(_unpacked(value, tensors))
    raise ValueError(f"its content has a {key!r} that means nothing")


def _replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Put a file in the place of another in one step that a crash cannot divide."""
    temporary = path.with_name(f".{path.name[:50]}.{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
