"""Muon (Jordan et al. 2024) for matrices of a few shapes, in float32 and in batches.

torch.optim.Muon orthogonalises in bfloat16, a matrix at a time; on processors without bfloat16
units that took longer than forward and backward together.
"""

from collections import defaultdict

import torch

# Quintic Newton-Schulz coefficients of the published code.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5


def orthogonalised(batch: torch.Tensor) -> torch.Tensor:
    """[count, rows, columns], rows <= columns, each matrix with singular values near 1."""
    batch = batch / (batch.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    for _ in range(STEPS):
        gram = batch @ batch.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        batch = torch.baddbmm(batch, polynomial, batch, beta=A)
    return batch


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    The step of a [rows, columns] matrix is `lr * sqrt(max(1, rows / columns))`.
    """

    def __init__(self, params, lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                by_shape[tuple(sorted(parameter.shape))].append(parameter)
            for parameters in by_shape.values():
                self._step(parameters, group)

    def _step(self, parameters: list[torch.Tensor], group: dict) -> None:
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            update = parameter.grad.lerp(momentum, group["momentum"])
            updates.append(update if update.shape[0] <= update.shape[1] else update.mT)
        for parameter, update in zip(parameters, orthogonalised(torch.stack(updates)), strict=True):
            rows, columns = parameter.shape
            if rows > columns:
                update = update.mT
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)
