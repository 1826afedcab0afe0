"""Where gradient descent on a loss comes to rest."""

from collections.abc import Callable, Sequence

import torch

Loss = Callable[[torch.Tensor], torch.Tensor]


def tensor(*values: float) -> torch.Tensor:
    """Float64, so that a comparison is of formulas."""
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss: Loss, *z: float) -> list[float]:
    """Of the loss at logits z."""
    logits = tensor(*z).requires_grad_()
    (slope,) = torch.autograd.grad(loss(logits), logits)
    return slope.tolist()


def rest(loss: Loss, *z: float, rate: float = 4.0, steps: int = 400) -> list[float]:
    """Probabilities after gradient descent from logits z."""
    logits, threads = tensor(*z), torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, waiting for a second one takes most of the time
    for _ in range(steps):
        logits.requires_grad_()
        (slope,) = torch.autograd.grad(loss(logits), logits)
        logits = (logits - rate * slope).detach()
    torch.set_num_threads(threads)
    return torch.sigmoid(logits).tolist()


def mixed(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], labels: Sequence[float]) -> Loss:
    """The loss of voxels that look alike, so have one logit, and have these labels."""
    return lambda z: loss(z.expand(len(labels)), tensor(*labels))
