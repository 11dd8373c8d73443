"""Muon for the matrices of the layers, AdamW for all else, as one optimizer.

A gradient of a matrix has few large singular values and many small ones. Muon (Jordan et al. 2024) takes a
step in which all are about 1: along directions that are rare in the data, a matrix moves as far as along
others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from nanoshell.model.config import Fraction
from nanoshell.model.moe import TopKRouter
from nanoshell.model.validation import Flag, validate
from nanoshell.training.config import PositiveNumber
from nanoshell.training.optimizer import VOCABULARY_PARAMETERS, exempt_parameters, parameter_groups
from nanoshell.training.plain_optimizer import AdamW, PlainOptimizer

if TYPE_CHECKING:
    from nanoshell.training.config import TrainerConfig

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that is iterated: steep at 0, and from 0.7 to 1.2 around 1 (Jordan et al. 2024)."""
STACKED_ELEMENTS = 1 << 24
"""Matrices of one shape are orthogonalised together, as many as hold so many numbers."""
_TINY = 1e-7


class MuonOptions(BaseModel):
    """What ``trainer.optimizer_options`` may say to the optimizer ``muon``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    momentum: Fraction = 0.95
    nesterov: Flag = True
    iterations: Annotated[int, Field(strict=True, ge=1, le=32)] = 5
    scale: Literal["rms", "spectral"] = "rms"
    """How far a matrix moves at a rate of 1; see `Muon`."""
    matrix_rate: PositiveNumber | None = None
    """The peak of the learning rate of matrices, where it is another than ``trainer.learning_rate``."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The dtype in which matrices are orthogonalised; ``auto`` leaves it to the device."""


class Muon(PlainOptimizer):
    """Muon for ``matrices``, (rows, columns) each, and AdamW for ``others``, groups of parameters.

    A matrix moves by ``rate × scale × orthogonalise(m)``, with ``m`` the momentum of its gradients, in
    Nesterov's form where ``nesterov``. The ``scale`` is ``rms``, 0.2 × √max(rows, columns): its numbers then
    move as far as AdamW's do, and one learning rate serves both (Liu et al. 2025, arXiv 2502.16982); or
    ``spectral``, √max(1, rows / columns), of Jordan et al., whose rate is then about 0.02. Decay is decoupled
    from the gradient, as in AdamW.

    The precision that ``auto`` takes on a device is kept in the state and goes on after a resume.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        options: MuonOptions | None = None,
    ) -> None:
        options = options or MuonOptions()
        chosen, rest = list(matrices), list(others)
        groups: list[dict[str, Any]] = []
        if chosen:
            kept = options.model_dump(exclude={"matrix_rate"})
            if options.precision == "auto":
                kept["precision"] = _precision(chosen[0].device)
            rate = lr if options.matrix_rate is None else options.matrix_rate
            groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay, **kept})
        self._adamw = AdamW(rest, lr=lr, betas=betas, eps=eps, fused=True) if rest else None
        if self._adamw is not None:
            groups += self._adamw.param_groups
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> Any:
        """Update the parameters once."""
        loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                if "momentum" in group:
                    self._step_matrices(group)
        if self._adamw is not None:
            # Loading a state replaces groups and state; the inner optimizer only ever borrows them.
            self._adamw.param_groups = [group for group in self.param_groups if "momentum" not in group]
            self._adamw.state = self.state
            self._adamw.step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        momentum, rate = group["momentum"], group["lr"]
        for parameters in _stacks(group["params"]):
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            buffers = [self._buffer(parameter) for parameter in parameters]
            torch._foreach_lerp_(buffers, gradients, 1 - momentum)
            ahead = torch._foreach_lerp(gradients, buffers, momentum) if group["nesterov"] else buffers
            directions = torch.stack(list(ahead))
            moves = orthogonalise(directions.to(_dtype(directions, group)), group["iterations"])
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
            far = rate * _size(group["scale"], *parameters[0].shape)
            torch._foreach_add_(parameters, moves.to(directions.dtype).unbind(), alpha=-far)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        found: Tensor = state["momentum"]
        return found


def muon(model: nn.Module, trainer: TrainerConfig) -> Muon:
    """Return Muon for the `hidden_matrices` of ``model``, and AdamW for the rest, as without Muon.

    ``trainer.optimizer_options`` holds `MuonOptions`. Raises `ConfigError` for what they do not know.
    """
    options = validate(MuonOptions, dict(trainer.optimizer_options), "trainer.optimizer_options")
    chosen = {id(parameter) for parameter in hidden_matrices(model)}
    groups = parameter_groups(model, trainer.weight_decay)
    rest = [{**group, "params": [p for p in group["params"] if id(p) not in chosen]} for group in groups]
    return Muon(
        hidden_matrices(model),
        [group for group in rest if group["params"]],
        lr=trainer.learning_rate,
        betas=trainer.betas,
        eps=trainer.epsilon,
        weight_decay=trainer.weight_decay,
        options=options,
    )


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices from channels to channels: weights of `torch.nn.Linear`, the head's left out.

    Neither embeddings are among them nor convolutions, vectors, and what a module names in
    ``no_weight_decay``; nor what chooses experts, whose rows are scores of one expert each, as a head's are
    of one token.
    """
    routers = {id(module.gate.weight) for module in model.modules() if isinstance(module, TopKRouter)}
    exempt = exempt_parameters(model) | routers
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in linear - exempt and name not in VOCABULARY_PARAMETERS and parameter.requires_grad
    ]


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return ``matrices`` (number, rows, columns) with their singular values brought near 1.

    By ``iterations`` of Newton–Schulz with a polynomial of degree five, in the dtype of ``matrices``. After
    five, those above a hundredth of the norm are between 0.6 and 1.2. A matrix of zeros stays one.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(_TINY)
    first, third, fifth = COEFFICIENTS
    for _ in range(iterations):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.mT if tall else x


def _stacks(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield those of ``parameters`` that have a gradient, in lists of one shape, device and dtype."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            alike[parameter.shape, parameter.device, parameter.dtype].append(parameter)
    for found in alike.values():
        count = max(1, STACKED_ELEMENTS // found[0].numel())
        for start in range(0, len(found), count):
            yield found[start : start + count]


def _size(scale: str, rows: int, columns: int) -> float:
    """Return how far a matrix moves at a rate of 1, in multiples of an orthogonal one."""
    return float(0.2 * max(rows, columns) ** 0.5 if scale == "rms" else max(1.0, rows / columns) ** 0.5)


def _dtype(directions: Tensor, group: dict[str, Any]) -> torch.dtype:
    """Return the dtype of ``precision``, but float64 where that is the parameters'."""
    wanted: torch.dtype = getattr(torch, group["precision"])
    return directions.dtype if directions.dtype == torch.float64 else wanted


def _precision(device: torch.device) -> str:
    """Return bfloat16 where ``device`` multiplies in it: the iteration forgives what that rounds."""
    if device.type == "cpu":
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    else:
        native = device.type == "cuda"
    return "bfloat16" if native else "float32"
