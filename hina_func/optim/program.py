"""Programs: the step of a piece as machine code, captured once and good for any number and length of rows.

A function of tensors is traced with symbolic sizes and given to torch's compiler as a graph, so that nothing is looked
at before a call and nothing is ever compiled again. What is one number per row is computed once per row: left to
itself, the compiler would compute it again, powers and all, for every vector of the row's elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.subgraph_rewriter import replace_pattern

from ..numerics import sign
from .graph import has_elements, is_number, once, register_lowerings
from .landing import land_first

CONTRACTING = {"cpp.enable_floating_point_contract_flag": "fast"}
"""Of the compiler: a product that is added to something is not rounded before."""

RECOMPUTING = {"realize_reads_threshold": 16, "realize_opcount_threshold": 100}
"""Of the compiler: what is read more often or took more operations than this is stored; by default than 4 and 30."""


def can_compile() -> bool:
    """Whether this torch takes a graph without a function around it (2.8 and later)."""
    return hasattr(torch._inductor, "standalone_compile")


def compiled(
    function: Callable[..., Sequence[Tensor]], example: Sequence[Tensor], *, recompute: bool = False
) -> Callable[..., Sequence[Tensor]]:
    """``function`` of tensors, which it may write to, as machine code.

    Args:
        function: takes and returns tensors; must not depend on their values or, by branching, on their sizes.
        example: arguments of the right dtypes, devices and numbers of dimensions. A dimension of 1 stays 1, and two
            dimensions of the same size stay equal; all others are free. What the compiler finds best for these sizes
            it does for all. Its cache on disk takes no notice of them: programs that differ in them alone are one.
        recompute: store no array on the way, which pays where tensors fit no cache: compute in each pass anew what
            several of them need, and let a parameter land before it is pulled back.
    """
    register_lowerings()
    graph_module = make_fx(function, tracing_mode="symbolic")(*example)
    if recompute:
        land_first(graph_module.graph)
    if example[0].device.type == "cpu":
        select_signs(graph_module, example[0].dtype)
        compute_rows_once(graph_module.graph)
    graph_module.recompile()
    with torch._inductor.config.patch(CONTRACTING | (RECOMPUTING if recompute else {})):
        program: Callable[..., Sequence[Tensor]] = torch._inductor.standalone_compile(graph_module, list(example))
    return program


def select_signs(graph_module: fx.GraphModule, dtype: torch.dtype) -> None:
    """Form every `numerics.sign` by selections, which takes the compiler half as many operations."""
    x = torch.empty(1, dtype=dtype)
    replace_pattern(graph_module, make_fx(sign)(x), make_fx(_selected)(x))


def _selected(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1, torch.where(x < 0, -1, x - x))


def compute_rows_once(graph: fx.Graph) -> None:
    """Store what is one number per row, in the dtype of the elements, where elements are computed from it."""
    stored: dict[tuple[fx.Node, torch.dtype], fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not has_elements(node):
            continue
        value = node.meta["val"]
        for source in node.all_input_nodes:
            if not is_number(source):
                continue
            number = source.meta["val"]
            dtype = value.dtype if number.is_floating_point() and value.is_floating_point() else number.dtype
            if source.op == "placeholder" and number.dtype == dtype:
                continue
            if (source, dtype) not in stored:
                stored[source, dtype] = _stored(graph, source, dtype)
            node.replace_input_with(source, stored[source, dtype])


def _stored(graph: fx.Graph, source: fx.Node, dtype: torch.dtype) -> fx.Node:
    value = source.meta["val"]
    after = source if source.op != "placeholder" else [node for node in graph.nodes if node.op == "placeholder"][-1]
    kept = source
    if value.dtype != dtype:
        value = value.to(dtype)
        with graph.inserting_after(after):
            kept = after = graph.call_function(torch.ops.prims.convert_element_type.default, (source, dtype))
        kept.meta["val"] = value
    with graph.inserting_after(after):
        kept = graph.call_function(once, (kept,))
    kept.meta["val"] = value
    return kept
