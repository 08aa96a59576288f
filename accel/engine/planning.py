"""Where every tensor of a network lies, as descriptors and the order of operations need it."""

from __future__ import annotations

from dataclasses import dataclass

from ilmpq.design import EngineConfig
from ilmpq.layout import Layout
from ilmpq.network import Network, Tensor
from ilmpq.planning import Planner

from .layouts import Layouts
from .order import Range


@dataclass(frozen=True)
class Held:
    """A tensor in the activation memory: at word `base`, groups `stride` words apart, in a ring of `rows` or whole (0)."""

    layout: Layout
    base: int
    stride: int
    rows: int = 0

    @property
    def ring(self) -> int:
        return self.rows * self.layout.pitch

    def row(self, y: int) -> int:
        """A row's start."""
        return (y % self.rows) * self.layout.pitch if self.rows else y * self.layout.pitch % (1 << 24)


class Placement(Planner[Layout]):
    """The plan of a network whose layouts are known; they get those of the tensors that are loaded and stored."""

    def __init__(self, network: Network, layouts: Layouts, config: EngineConfig) -> None:
        super().__init__(network, layouts.of, config.banks, config.am_depth, layouts.image_layer is not None)

    def inside(self, name: str) -> bool:
        """Whether a tensor lies in the activation memory."""
        return name in self.plan.bases

    def held(self, tensor: Tensor) -> Held:
        rows = self.rings.get(tensor.name, 0)
        return Held(self.numberings[tensor.name], self.plan.bases[tensor.name], self.stride(tensor), rows)

    def range(self, tensor: Tensor, rows: tuple[int, int]) -> Range:
        base = self.plan.bases[tensor.name]
        end = base + self.plan.sizes[tensor.name]
        return Range("memory", base, end, tensor.name, rows, self.rings.get(tensor.name, 0))
