"""What a graph is told about the order and the storing of its numbers, which a compiler would choose otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

torch.library.define("hina_func::once", "(Tensor x) -> Tensor")
torch.library.impl("hina_func::once", "CompositeExplicitAutograd", torch.clone)
once = torch.ops.hina_func.once.default
"""The value of its argument, which a compiler must store where it could compute it anew at each use."""

torch.library.define("hina_func::after", "(Tensor x, Tensor number) -> Tensor")
torch.library.impl("hina_func::after", "CompositeExplicitAutograd", lambda x, number: x.clone())
after = torch.ops.hina_func.after.default
"""The value of its first argument, to be read when the second, one number per row, is known."""

torch.library.define("hina_func::in_place_of", "(Tensor x, Tensor place, Tensor number) -> Tensor")
torch.library.impl("hina_func::in_place_of", "CompositeExplicitAutograd", lambda x, place, number: x.clone())
in_place_of = torch.ops.hina_func.in_place_of.default
"""The value of its first argument, stored in the memory of the second, an argument of the graph.

What is not needed for the third must not read that memory before the graph writes to it.
"""


def has_elements(node: fx.Node) -> bool:
    """Whether a node is a tensor with more than one number per row."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim > 1 and any(size != 1 for size in value.shape[1:])


def is_number(node: fx.Node) -> bool:
    """Whether a node is a tensor with one number per row, or one for all."""
    return isinstance(node.meta.get("val"), Tensor) and not has_elements(node)


def register_lowerings() -> None:
    """Tell torch's compiler what the operators of this module mean."""
    from torch._inductor import ir, lowering

    if once in lowering.lowerings:
        return

    @lowering.register_lowering(once, type_promotion_kind=None)
    def store(x: Any) -> Any:
        x.realize()
        return x

    @lowering.register_lowering(after, type_promotion_kind=None)
    def wait(x: Any, number: Any) -> Any:
        load, load_number = x.make_loader(), lowering.expand(number, x.get_size()).make_loader()

        def inner(index: Any) -> Any:
            load_number(index)
            return load(index)

        waited = ir.Pointwise.create(device=x.get_device(), dtype=x.get_dtype(), inner_fn=inner, ranges=x.get_size())
        waited.realize()
        return waited

    @lowering.register_lowering(in_place_of, type_promotion_kind=None)
    def overwrite(x: Any, place: Any, number: Any) -> Any:
        return lowering.mutate_to(place, x)
