"""Steps that end with a pull toward a point: the parameter lands first, in place, and is pulled back from there.

How much to pull is known when the step has landed: a number per row, from the parameter as the step would leave it.
Left to itself, a compiler stores the update in memory of its own until then, and of a tensor that fits no cache every
array counts. So the graph of such a step is made to store the landing where the parameter lies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from .graph import after, has_elements, in_place_of, is_number

aten = torch.ops.aten


def land_first(graph: fx.Graph) -> None:
    """Make a graph that ends with ``p += u - c (p + u - a)`` end with ``p = (p - a) + u; p = a + (1 - c) p``.

    ``c`` is one number per row and ``a``, which may be missing, an argument that the graph does not write to. A graph
    that ends otherwise stays as it is.
    """
    writes = [node for node in graph.nodes if node.target in (aten.copy_.default, aten.add_.Tensor)]
    land = writes[-1]
    param, move = _operands(land, aten.add_.Tensor)
    update, pull = _operands(move, aten.sub.Tensor)
    share, drift = _operands(pull, aten.mul.Tensor)
    if param is None or update is None or share is None or not is_number(share):
        return
    rest = _terms(drift, {param, update})
    if rest.pop(param, 0) != 1 or rest.pop(update, 0) != 1 or list(rest.values()) not in ([], [-1]):
        return
    written = {node.args[0] for node in writes}
    if any(anchor.op != "placeholder" or anchor in written for anchor in rest):
        return
    with graph.inserting_before(land):
        left = _like(share, graph.call_function(aten.rsub.Scalar, (share, 1)))
        from_anchor = param
        for anchor in rest:
            from_anchor = _like(param, graph.call_function(aten.sub.Tensor, (param, anchor)))
        landed = _like(param, graph.call_function(aten.add.Tensor, (from_anchor, update)))
        stored = _like(param, graph.call_function(in_place_of, (landed, param, left)))
        pulled = _like(param, graph.call_function(aten.mul.Tensor, (left, stored)))
        for anchor in rest:
            pulled = _like(param, graph.call_function(aten.add.Tensor, (anchor, pulled)))
    land.target, land.args = aten.copy_.default, (param, pulled)
    _read_late(graph, param, update, {land, stored})


def _like(node: fx.Node, new: fx.Node) -> fx.Node:
    """A new node whose values have the shape and dtype of another's."""
    new.meta["val"] = node.meta["val"]
    return new


def _operands(node: Any, *operators: Any) -> tuple[Any, Any]:
    """Both tensors of an operation that is one of these, and nothing of others."""
    if not isinstance(node, fx.Node) or node.target not in operators or node.kwargs:
        return None, None
    left, right = node.args
    return (left, right) if isinstance(left, fx.Node) and isinstance(right, fx.Node) else (None, None)


def _terms(node: fx.Node, leaves: set[fx.Node]) -> dict[fx.Node, int]:
    """A sum of nodes, each with how often it is added."""
    left, right = _operands(node, aten.add.Tensor, aten.sub.Tensor)
    if node in leaves or left is None:
        return {node: 1}
    sign = 1 if node.target == aten.add.Tensor else -1
    sums = _terms(left, leaves)
    for term, times in _terms(right, leaves).items():
        sums[term] = sums.get(term, 0) + sign * times
    return sums


def _read_late(graph: fx.Graph, param: fx.Node, update: fx.Node, writes: set[fx.Node]) -> None:
    """Have the parameter read in the pass that overwrites it, where nothing needs it before.

    A compiler writes in place in the pass that reads, if all that reads is in that pass. It is the pass after the last
    sum that the update needs.
    """
    needed = {update}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    depends, sums = {param}, dict.fromkeys(graph.nodes, 0)
    for node in graph.nodes:
        sources = node.all_input_nodes
        if depends.intersection(sources):
            depends.add(node)
        sums[node] = max((sums[source] for source in sources), default=0)
        sums[node] += is_number(node) and any(map(has_elements, sources))
    known = [node for node in graph.nodes if node in needed - depends and is_number(node) and sums[node] > 0]
    if not known:
        return
    number = max(known, key=sums.__getitem__)
    with graph.inserting_after(number):
        late = _like(param, graph.call_function(after, (param, number)))
    param.replace_all_uses_with(late, delete_user_cb=lambda user: user not in {late, *writes} and late < user)
