"""Bugs of what runs the formulas: compositions, gates, recipes, state, the optimizer and its checkpoints."""

from __future__ import annotations

import torch

from ..patching import Mutant

SKIP, ALL_FINITE, GATHER = "gates.SkipNotFinite.update", "gates.ApplyIfFinite.update", "gates.Accumulate.update"
RECIPE, CHAIN, PARTITION = "recipes.hina_adamw", "links.Chain.update", "links.Partition.update"
ENGINE, LOAD = "optim.engine.Engine._step", "optim.optimizer.Optimizer.load_state_dict"
ORDER = "decay, scale_by_learning_rate(learning_rate)]"


def dtype_of_parameters(dtype: torch.dtype) -> torch.dtype:
    """State in the dtype of the parameters."""
    return dtype if dtype.is_floating_point else torch.float32


CORPUS = (
    Mutant(
        "A parameter without a gradient moves on",
        "border.Border.update",
        ("for name, leaf in given.items() if leaf is not None", "for name in rows"),
        ("momentum", "decay"),
    ),
    Mutant(
        "The state of a parameter without a gradient goes on",
        "state.freeze_rows",
        ("torch.where(rowwise(mask, fresh), fresh, kept)", "fresh"),
        ("momentum", "schedule"),
    ),
    Mutant(
        "The state of everybody stands still when one gradient is missing",
        "state.freeze_rows",
        ("torch.where(rowwise(mask, fresh), fresh, kept)", "kept"),
        ("momentum",),
    ),
    Mutant(
        "Moments are kept in the dtype of the parameters",
        "layout.compute_dtype",
        dtype_of_parameters,
        ("average", "adam in bfloat16"),
    ),
    Mutant(
        "Rows of a column come back in another order",
        "layout.Layout.unstack",
        (".unbind(0)", ".flip(0).unbind(0)"),
        ("momentum", "adamw"),
    ),
    Mutant(
        "Updates are handed back by position and not by name",
        "border.Border.update",
        ("{name: rows[name] for name, leaf in given.items() if leaf is not None}", "dict(zip(given, rows.values()))"),
        ("momentum",),
    ),
    Mutant("A chain runs from its end", CHAIN, ("in self.links", "in reversed(self.links)"), ("in order", "shrinking")),
    Mutant(
        "A chain loses the state of its links", CHAIN, ("return (u, after)", "return (u, state)"), ("adamw", "cautious")
    ),
    Mutant(
        "A chain feeds every link with the gradient",
        CHAIN,
        ("link.update(u, state[name]", "link.update(ctx.grads, state[name]"),
        ("in order", "adamw"),
    ),
    Mutant(
        "What is masked out has a part in norms",
        PARTITION,
        ("ctx.part(label).enter(label)", "(ctx.part(label) if label == 'out' else ctx).enter(label)"),
        ("clip, the rest frozen",),
    ),
    Mutant(
        "Freezing takes those that should move",
        "compose.freeze",
        ("(('in', SetToZero()), ('out', Identity()))", "(('out', SetToZero()), ('in', Identity()))"),
        ("frozen",),
    ),
    Mutant(
        "What is frozen is let through",
        "links.SetToZero.update",
        ("torch.zeros_like(u[column.key])", "u[column.key]"),
        ("frozen", "clip, the rest frozen"),
    ),
    Mutant(
        "Masks compare with the gradient as it came in",
        "links.WithGradient.update",
        ("ctx._replace(grads=grads)", "ctx"),
        ("seen through a projection",),
    ),
    Mutant(
        "Accumulating sums and does not average",
        GATHER,
        (
            "state.acc[key] + (u[key] - state.acc[key]) / rowwise(step + 1, u[key]).to(u[key].dtype)",
            "state.acc[key] + u[key]",
        ),
        ("accumulate",),
    ),
    Mutant(
        "Accumulating emits one gradient late",
        GATHER,
        ("step + 1 == self.every", "step == self.every"),
        ("accumulate",),
    ),
    Mutant(
        "Accumulating moves at every gradient",
        GATHER,
        ("torch.where(rowwise(emits[key], new[key]), new[key], 0)", "new[key]"),
        ("accumulate",),
    ),
    Mutant(
        "Accumulating lets the momentum go on in between",
        GATHER,
        ("torch.where(rowwise(emits.get(entry.key, emitted), fresh), fresh, old)", "fresh"),
        ("accumulate",),
    ),
    Mutant(
        "Accumulating keeps the last gradient",
        GATHER,
        ("state.acc[key] + (u[key] - state.acc[key]) / rowwise(step + 1, u[key]).to(u[key].dtype)", "u[key]"),
        ("accumulate",),
    ),
    Mutant("A gate lets what is not finite out", SKIP, ("{**u, **_where(finite, new)}", "new"), ("skip_not_finite",)),
    Mutant(
        "A gate lets the momentum of what it skips count in a norm",
        SKIP,
        ("ctx.restricted(finite)", "ctx"),
        ("skip_not_finite around a norm",),
    ),
    Mutant(
        "A gate lets the state of what it skips go on",
        SKIP,
        ("map_state(pick, inner, state.inner)", "inner"),
        ("skip_not_finite",),
    ),
    Mutant(
        "A gate stops NaN and lets infinities pass",
        "gates._finite_rows",
        ("~torch.isfinite(x)", "torch.isnan(x)"),
        ("skip_not_finite",),
    ),
    Mutant(
        "A gate skips what is finite", "gates._finite_rows", ("~any_nonzero(", "any_nonzero("), ("skip_not_finite",)
    ),
    Mutant(
        "A gate skips all when one is not finite",
        SKIP,
        (
            "_finite_rows(u[key]) & _finite_rows(ctx.grads[key])",
            "(_finite_rows(u[key]) & (torch.stack([_finite_rows(x).all() for x in u.values()]).all()))",
        ),
        ("skip_not_finite",),
    ),
    Mutant(
        "A gate for all lets the state go on",
        ALL_FINITE,
        ("torch.where(apply, fresh, old)", "fresh"),
        ("apply_if_finite",),
    ),
    Mutant(
        "A gate for all lets what is not finite out",
        ALL_FINITE,
        ("torch.where(apply, new[key], 0)", "new[key]"),
        ("apply_if_finite",),
    ),
    Mutant(
        "A gate for all gives up at once",
        ALL_FINITE,
        ("count > self.max_consecutive_errors", "count > 0"),
        ("apply_if_finite",),
    ),
    Mutant(
        "Decay comes after the learning rate",
        RECIPE,
        (ORDER, "scale_by_learning_rate(learning_rate), decay]"),
        ("hina_adamw",),
    ),
    Mutant("Decay comes twice", RECIPE, (ORDER, "decay, " + ORDER), ("hina_adamw",)),
    Mutant("Decay is left out", RECIPE, (ORDER, ORDER.removeprefix("decay, ")), ("hina_adamw",)),
    Mutant(
        "The learning rate comes twice",
        RECIPE,
        (
            ORDER,
            "decay, scale_by_learning_rate(learning_rate), scale_by_learning_rate(learning_rate, flip_sign=False)]",
        ),
        ("hina_adamw",),
    ),
    Mutant(
        "Grams comes before the moments",
        RECIPE,
        ("chain(moments, *sign, *step, *spd)", "chain(*sign, moments, *step, *spd)"),
        ("hina_adamw without decay",),
    ),
    Mutant(
        "Caution is left out of the recipe",
        RECIPE,
        ("[cautious_mask()] * use_cautious", "[]"),
        ("hina_adamw with caution",),
    ),
    Mutant(
        "An optimizer keeps the state of missing gradients going",
        "optim.pieces.Piece.__post_init__",
        ("self.lasting = list(self.kept)", "self.lasting = []"),
        ("adamw",),
    ),
    Mutant(
        "An optimizer moves what has no gradient",
        ENGINE,
        ("piece.land(missing)", "piece.land([])"),
        ("adamw",),
    ),
    Mutant(
        "An optimizer writes to the gradients",
        "optim.engine._step_of",
        ("param.add_(move)", "(param.add_(move), grad.mul_(0))"),
        ("adamw",),
    ),
    Mutant(
        "An optimizer gives the update of one piece twice",
        "optim.engine._step_of",
        ("param.add_(move)", "param.add_(2 * move)"),
        ("adamw",),
    ),
    Mutant(
        "An optimizer does not keep its state",
        "optim.engine._step_of",
        ("old.copy_(after)", "pass"),
        ("scheduled sgd", "adamw"),
    ),
    Mutant(
        "A closure runs without gradients",
        "optim.optimizer.Optimizer.step",
        ("torch.enable_grad()", "torch.no_grad()"),
        ("adamw",),
    ),
    Mutant(
        "A closure's loss is not returned", "optim.optimizer.Optimizer.step", ("return loss", "return None"), ("adamw",)
    ),
    Mutant(
        "A learning rate that is changed goes unseen",
        "optim.run.Runner._hyperparams",
        ("[group[key] for group in groups]", "[hyperparams_of(self.link)[key]]"),
        ("adamw",),
    ),
    Mutant(
        "Loading begins anew",
        "optim.rows.Rows._restore",
        ("write(self.views[name].values(), map(saved.__getitem__, self.views[name]))", "pass"),
        ("adamw",),
    ),
    Mutant(
        "Loading forgets the number of steps",
        "optim.rows.Rows._restore",
        (
            "map(saved.__getitem__, self.views[name])",
            "[saved[key] * (saved[key].ndim > 0) for key in self.views[name]]",
        ),
        ("adamw",),
    ),
    Mutant(
        "Loading matches parameters by position",
        "optim.checkpoint.match",
        ("all(('param_names' in group for side in (groups, saved) for group in side))", "False"),
        ("adamw with names",),
    ),
    Mutant(
        "Saved state is rounded to bfloat16",
        "optim.rows.Rows._restore",
        (
            "map(saved.__getitem__, self.views[name])",
            "[saved[key].bfloat16().to(saved[key].dtype) for key in self.views[name]]",
        ),
        ("adamw",),
    ),
)
