"""Laws of composition: chains, masks and partitions of transformations."""

from __future__ import annotations

from ...compose import chain, identity, masked, named_chain, partition
from ...transforms.scale import scale
from ..checking import Violation, expect_close, expect_equal, law
from ..strategies import History, histories
from ..subjects import Transform, moves

ordinary = histories(max_steps=3)


@law(ordinary, of=Transform)
def chain_identity(subject: Transform, history: History) -> None:
    """A chain with identity before or behind is the transformation itself, to the bit."""
    expected = moves(subject, *history)
    for tx in (chain(identity(), subject.tx), chain(subject.tx, identity())):
        expect_equal(moves(Transform(tx), *history), expected, "in a chain with identity")


@law(ordinary, of=Transform)
def chain_associativity(subject: Transform, history: History) -> None:
    """How a chain is bracketed changes nothing, to the bit."""
    left = chain(chain(scale(2.0), subject.tx), scale(-0.5))
    right = chain(scale(2.0), chain(subject.tx, scale(-0.5)))
    expect_equal(moves(Transform(left), *history), moves(Transform(right), *history), "bracketed otherwise")


@law(ordinary, of=Transform)
def names_do_not_matter(subject: Transform, history: History) -> None:
    """A named chain does what the plain one does."""
    named = named_chain(("first", subject.tx), ("then", scale(-0.5)))
    plain = chain(subject.tx, scale(-0.5))
    expect_equal(moves(Transform(named), *history), moves(Transform(plain), *history), "with names")


@law(histories(max_steps=3), of=Transform)
def mask_is_removal(subject: Transform, history: History) -> None:
    """Masked to some parameters, it does to them what it does where the others are not; these pass."""
    only_w = masked(subject.tx, lambda name, _: name == "w")
    found = moves(Transform(only_w), *history)
    alone = moves(subject, {"w": history.params["w"]}, [{"w": grads["w"]} for grads in history.grads])
    expect_close([{"w": move["w"]} for move in found], alone, "masked", tolerance=1e-12)
    for i, (move, grads) in enumerate(zip(found, history.grads, strict=True), 1):
        for name in move.keys() - {"w"}:
            if not move[name].equal(grads[name]):
                raise Violation(f"step {i}: {name} is masked out and was changed")


@law(ordinary, of=Transform)
def partition_of_one(subject: Transform, history: History) -> None:
    """A partition whose every parameter has the same label is the transformation itself, to the bit."""
    whole = partition({"all": subject.tx}, lambda name, tensor: "all")
    expect_equal(moves(Transform(whole), *history), moves(subject, *history), "as a partition")


@law(ordinary, of=Transform)
def idempotence(subject: Transform, history: History) -> None:
    """Applied to its own moves it changes nothing more, as a projection does."""
    twice = Transform(chain(subject.tx, subject.tx))
    noise = 1e-3 * history.largest()
    expect_close(moves(twice, *history), moves(subject, *history), "applied twice", tolerance=1e-9, size=noise)
