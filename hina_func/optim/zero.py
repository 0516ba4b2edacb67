"""What an optimizer cannot see when a `ZeroRedundancyOptimizer` builds it for one process's share of the parameters."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from torch import Tensor

from ..adapters import find_adapters
from ..link import Link
from .naming import names_found


def parameters_of_all(params: Sequence[Tensor]) -> list[Tensor]:
    """The parameters of the live `ZeroRedundancyOptimizer` that holds these; none if there is no such optimizer."""
    if "torch.distributed.optim" not in sys.modules:
        return []
    kind = sys.modules["torch.distributed.optim"].ZeroRedundancyOptimizer
    wanted = set(map(id, params))
    for thing in gc.get_objects():
        if issubclass(type(thing), kind):
            held = [param for group in thing.param_groups for param in group["params"]]
            if wanted and wanted < set(map(id, held)):
                return held
    return []


def lost_under_zero(link: Link, params: Sequence[Tensor]) -> list[str]:
    """One sentence for each thing that will not be as in one process."""
    held = parameters_of_all(params)
    if not held:
        return []
    lost = []
    if not link.columnwise():
        lost.append(
            f"the chain looks across parameters, of which it sees {len(params)} of {len(held)} here under "
            "ZeroRedundancyOptimizer; clip with torch.nn.utils.clip_grad_norm_, or shard with fully_shard"
        )
    rules = list(dict.fromkeys(name for name, _ in link.module_rules()))
    names, mine = names_found(held), set(map(id, params))
    here = {name for key, name in names.items() if key in mine}
    adapters = find_adapters({names[id(param)]: param for param in held if id(param) in names}, link.patterns())
    whole = [set(module.members.values()) for module in adapters.modules if module.complete and module.kind != "norm"]
    cut = [members for members in whole if members & here and not members <= here]
    if rules and cut:
        lost.append(
            f"ZeroRedundancyOptimizer gives the factors of {len(cut)} adapter modules to different processes, so "
            f"{', '.join(rules)} leave them alone; shard with fully_shard, or use this optimizer without it"
        )
    return lost
