"""Files that are not quite what was saved: damaged anywhere, or forged so that the header's checksum holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from random import Random
from typing import Any

MARK = b'"hina_func":"'
BLANK = b"0" * 64


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def sealed(header: bytes, body: bytes) -> bytes:
    """A file whose header vouches for itself, whatever it says."""
    header += b" " * (-len(header) % 8)
    data = len(header).to_bytes(8, "little") + header
    start = data.find(MARK) + len(MARK)
    if start < len(MARK):
        return data + body
    blank = data[:start] + BLANK + data[start + 64 :]
    return data[:start] + hashlib.sha256(blank).hexdigest().encode() + data[start + 64 :] + body


# Damage


def spot(rng: Random, data: bytes) -> tuple[int, int]:
    """Some bytes: anywhere, in the header, or in its first line."""
    end = rng.choice([len(data), header_end(data), 160])
    start = rng.randrange(min(end, len(data)))
    return start, min(len(data), start + rng.choice([1, 1, 1, 2, 4, 8, 16, 64, 256]))


def flip(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[spot(rng, data)[0]] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: Random, data: bytes) -> bytes:
    start, stop = spot(rng, data)
    piece = rng.choice([bytes(stop - start), b"\xff" * (stop - start), rng.randbytes(stop - start)])
    return data[:start] + piece + data[stop:]


def cut(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def lengthen(rng: Random, data: bytes) -> bytes:
    return data + rng.choice([b"\0", b" ", rng.randbytes(9), data])


def insert(rng: Random, data: bytes) -> bytes:
    start, stop = spot(rng, data)
    return data[:start] + rng.randbytes(stop - start) + data[start:]


def drop(rng: Random, data: bytes) -> bytes:
    start, stop = spot(rng, data)
    return data[:start] + data[stop:]


def repeat(rng: Random, data: bytes) -> bytes:
    start, stop = spot(rng, data)
    return data[:stop] + data[start:]


def swap(rng: Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted([spot(rng, data), spot(rng, data)])
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data[c:] + data[:c]


def claim(rng: Random, data: bytes) -> bytes:
    size = rng.choice([0, 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1, len(data), len(data) - 8, rng.getrandbits(64)])
    return size.to_bytes(8, "little") + data[8:]


def digit(rng: Random, data: bytes) -> bytes:
    """Another number in the header."""
    places = [i for i in range(8, header_end(data)) if 48 <= data[i] < 58]
    place = rng.choice(places)
    return data[:place] + b"%d" % rng.randrange(10) + data[place + 1 :]


DAMAGES: list[Callable[[Random, bytes], bytes]] = [
    flip,
    flip,
    overwrite,
    cut,
    lengthen,
    insert,
    drop,
    repeat,
    swap,
    claim,
    digit,
]


def damaged(rng: Random, data: bytes) -> bytes:
    """The same file with some damage, never without any."""
    changed = data
    while changed == data:
        changed = rng.choice(DAMAGES)(rng, data)
    return changed


# Forgery


def junk(rng: Random, depth: int = 0) -> Any:
    """Any JSON."""
    simple = [None, True, -1, 0, 2**70, 1e308, float("nan"), "", "x" * 99, "\ud800", "F32", "weight", [], {}]
    kinds = ["$tensor", "$tuple", "$items", "$counter", "format", "params", "param_names", "state", "a"]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(simple)
    if rng.random() < 0.5:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(kinds): junk(rng, depth + 1) for _ in range(rng.randrange(1, 3))}


def places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        found.append((tree, key))
        places(tree[key], found)
    return found


def tampered(rng: Random, tree: Any) -> None:
    """One to three values in a tree replaced, removed or exchanged."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        spots = places(tree, [])
        if not spots:
            return
        (holder, key), (other, another) = rng.choice(spots), rng.choice(spots)
        match rng.randrange(4):
            case 0:
                holder[key] = junk(rng)
            case 1:
                del holder[key]
            case 2:
                holder[key] = json.loads(json.dumps(other[another]))
            case 3 if isinstance(holder, dict):
                holder[rng.choice(["$tensor", "extra", str(key) + "x"])] = holder.pop(key)


def bomb(rng: Random) -> str:
    """JSON that wants memory or depth."""
    count = rng.choice([100, 3_000, 100_000])
    return rng.choice(["[" * count, "[" * count + "]" * count, '{"a":' * count, f"[{'0,' * count}0]", "9" * count])


def forged(rng: Random, data: bytes) -> bytes:
    """A header that says something else, with the right checksum for it."""
    end = header_end(data)
    header = json.loads(data[8:end])
    text = header["__metadata__"]["hina_func"]
    manifest = json.loads(text[64:])
    kind = rng.randrange(6)
    if kind == 0:
        return sealed(damaged(rng, data[:end])[8:end], data[end:])
    if kind == 1:
        header["__metadata__"]["hina_func"] = text[:64] + bomb(rng)
        return sealed(json.dumps(header).encode(), data[end:])
    if kind == 2:
        meta = json.dumps(header["__metadata__"], separators=(",", ":"))
        return sealed(f'{{"__metadata__":{meta},"x":{bomb(rng)}}}'.encode(), data[end:])
    if kind == 3:
        meta = header.pop("__metadata__")
        tampered(rng, header)
        header = {"__metadata__": meta, **header}
    else:
        tampered(rng, manifest if kind == 4 else manifest["content"])
        header["__metadata__"]["hina_func"] = text[:64] + json.dumps(manifest, separators=(",", ":"))
    return sealed(json.dumps(header, separators=(",", ":")).encode(), data[end:])
