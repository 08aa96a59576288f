"""How many cycles the engine takes: a model of its units and queues, from operations, without simulating a cycle.

`frame` walks a list of operations (`Work`) through the four things that take time: steps in the arrays, results through
the requantizers, weights into the ring, words through the other memory port. All units run side by side; a tile of
positions takes as long as the slowest of them. What cannot be hidden is told apart, per layer, in `LayerCycles`.

    >>> import numpy as np
    >>> from ilmpq.work import Machine, Memory, Unit, Work
    >>> conv = Work("conv", Unit.CONV, tiles=100, positions=4, steps=np.array([36]), slots=np.array([16]), macs=7_372_800)
    >>> found = frame([conv], Machine(macs_per_cycle=2048, ports=3, step_beats=12, slot_beats=1, ring=512, table=128, word_bytes=64, latency=13), Memory(32))
    >>> 3600 < found.cycles < 4200
    True
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from .taken import Busy, Rate, Ring
from .work import PORT_BYTES, READ_AHEAD, Machine, Memory, Pace, Unit, Work

Cycles = NDArray[np.float64]

# Cycles of an operation beside those of its tiles, with arrays of latency 0 and one position; of them before its first step.
OVERHEAD, LEAD = 39, 19
FIRST_OPERATION = 40  # cycles, and two latencies of memory, until the first operation can start
FIRST_WINDOW, FIRST_BYTES = 20, 1500  # likewise, and three latencies, until the image unit gives its first window
DESCRIPTOR_BYTES = 128
TRANSFER_LATENCY = 10
DESCRIPTORS_AHEAD = 9  # operations that are fetched, and whose weights are, before they start
WEIGHTS_PER_OPERATION = 3  # cycles in which the loader settles
WEIGHTS_TO_STEP = 6  # cycles from a step's last beat to its use


@dataclass
class LayerCycles:
    """Where a layer's cycles went; `cycles` is the sum of the others."""

    layer: str
    macs: int = 0
    cycles: float = 0.0
    compute: float = 0.0  # steps
    weights: float = 0.0  # waiting for weights
    features: float = 0.0  # waiting for feature maps that are loaded or stored, or for windows of the image
    requantize: float = 0.0  # waiting for results to be written
    start: float = 0.0  # starts and ends of operations
    weight_bytes: int = 0
    feature_bytes: int = 0


@dataclass(frozen=True)
class Frame:
    """A network's time: the end of every operation, and the cycles of every layer in order."""

    ends: Cycles  # of the operations, in their order
    layers: tuple[LayerCycles, ...]
    cycles: float
    macs_per_cycle: int

    def busy(self, convolutions_only: bool = False) -> float:
        """The share of the lanes' cycles that were useful."""
        layers = [x for x in self.layers if x.macs or not convolutions_only]
        return sum(x.macs for x in layers) / (sum(x.cycles for x in layers) * self.macs_per_cycle)


def frame(works: Sequence[Work], machine: Machine, memory: Memory, enough: float = inf) -> Frame:
    """The cycles of one frame; more than are said, if those are more than `enough`."""
    engine = _Engine(works, machine, memory)
    found = engine.run()
    if not engine.slowed() or found.cycles > enough:
        return found
    # What goes through the other port, and when weights come, is known after the first round; when lines wait, after the second.
    crowded, engine = engine.crowded, _Engine(works, machine, memory, engine)
    found = engine.run()
    return _Engine(works, machine, memory, engine).run() if crowded else found


class _Engine:
    """The clocks of all units."""

    def __init__(self, works: Sequence[Work], machine: Machine, memory: Memory, before: _Engine | None = None) -> None:
        self.works, self.machine, self.memory = works, machine, memory
        self.before = before  # an earlier round
        self.expected = Rate(before.traffic if before else [])  # of the other port, bytes
        self.traffic: list[Busy] = []
        self.loading: list[Busy] = []
        ports, rate = machine.ports, memory.bytes_per_cycle
        wanted = PORT_BYTES * ports * machine.step_beats / ceil(machine.step_beats)
        # Bytes for an image beside weights; it asks for its lines by and by, so that its turn passes at times.
        self.line_share = min(PORT_BYTES, max(0.9 * rate / (ports + 1), rate - wanted))
        self.crowded = False  # whether that is too few
        self.computing: list[Busy] = []  # the activation memory's second port
        self.ends = np.zeros(len(works))
        self.computes = [0.0]  # ends
        self.transfers: dict[Unit, list[int]] = {Unit.LOAD: [], Unit.STORE: []}  # places in `works`
        self.transferred: dict[Unit, list[float]] = {Unit.LOAD: [0.0], Unit.STORE: [0.0]}  # ends
        self.starts: list[float] = []  # of COMPUTE
        self.windows_until = 0.0  # the end of the last operation that took windows
        self.image_until = 0.0  # when the lines for those were read
        self.images: deque[float] = deque()  # when windows begin to come
        self.image_left = 0  # bytes of it that are still to be read
        self.loader = 2.0 * memory.latency + FIRST_OPERATION  # the loader's clock
        self.ring = Ring(machine.ring)
        self.slots: deque[tuple[float, int]] = deque()  # of row tiles in the table: when they are free, how many
        self.slots_used = 0
        self.layers: dict[str, LayerCycles] = {}

    def run(self) -> Frame:
        for index, work in enumerate(self.works):
            layer = self.layers.setdefault(work.layer, LayerCycles(work.layer))
            layer.feature_bytes += work.bytes
            if work.unit in (Unit.CONV, Unit.POOL):
                self.ends[index] = self._compute(work, layer)
            elif work.unit is Unit.IMAGE:
                begin = max(self._ready(work.waits), self.image_until)
                self.images.append(begin + self._first_window())
            else:
                self.transfers[work.unit].append(index)
        for unit in self.transfers:
            self._transferred(unit, len(self.transfers[unit]))
        return Frame(self.ends, tuple(self.layers.values()), float(self.ends.max()), self.machine.macs_per_cycle)

    def _ready(self, waits: tuple[int, int, int]) -> float:
        loads, stores, computes = waits
        return max(self._transferred(Unit.LOAD, loads), self._transferred(Unit.STORE, stores), self.computes[computes])

    def _first_window(self) -> float:
        return 3 * self.memory.latency + FIRST_WINDOW + FIRST_BYTES / self.memory.bytes_per_cycle

    def _transferred(self, unit: Unit, count: int) -> float:
        """When so many LOADs or STOREs are complete. Whoever asks is waiting, so that what computes is known."""
        ends = self.transferred[unit]
        while len(ends) <= count:
            index = self.transfers[unit][len(ends) - 1]
            work = self.works[index]
            first = 2 * self.memory.latency + FIRST_OPERATION
            begin = max(self._ready(work.waits), ends[-1], first)
            end = self._moved(begin, work.bytes) + self.memory.latency + TRANSFER_LATENCY
            self.traffic.append(Busy(begin, end, work.bytes / (end - begin)))
            self.ends[index] = end
            ends.append(end)
        return ends[count]

    def _moved(self, begin: float, size: int) -> float:
        """When so many bytes have gone between memory and activation memory, past results that are being written."""
        fastest = self.memory.port_bytes_per_cycle
        at, left = begin, float(size)
        for number in range(bisect_right(self.computes, at, lo=1) - 1, len(self.computing)):
            busy = self.computing[number]
            if left <= 0:
                break
            if busy.begin > at:
                moved = min(left, (busy.begin - at) * fastest)
                left, at = left - moved, at + moved / fastest
            rate = min(fastest, (1 - busy.rate) * self.machine.word_bytes)
            moved = min(left, (busy.end - at) * rate)
            left, at = left - moved, at + moved / rate if left <= moved else busy.end
        return at + left / fastest

    def _compute(self, work: Work, layer: LayerCycles) -> float:
        free = self.computes[-1]
        start = max(free, self._ready(work.waits), 0.0 if self.starts else 2 * self.memory.latency + FIRST_OPERATION)
        waited = start - free if self.starts else 0.0
        self.starts.append(start)
        first = start + LEAD + work.positions - 1
        steps_end, end, starved = self._pool(work, first) if work.unit is Unit.POOL else self._conv(work, first)
        end += OVERHEAD - LEAD
        self.computes.append(end)
        written = work.tiles * float(work.slots.sum()) * work.slot_cycles
        self.computing.append(Busy(start, end, min(written / (end - first), 1.0)))
        compute = work.tiles * float(work.steps.sum())
        layer.macs += work.macs
        if work.unit is Unit.CONV:
            beats = work.weight_steps.sum() * self.machine.step_beats + (work.slots * self.machine.slot_beats + 1).sum()
            layer.weight_bytes += round(float(beats) * PORT_BYTES * self.machine.ports)
        layer.cycles += end - free
        layer.compute += compute
        layer.features += waited + (starved if work.windows else 0.0)
        layer.weights += 0.0 if work.windows else starved
        results = max(steps_end - first - compute - starved, 0.0)
        layer.requantize += results
        layer.start += end - free - compute - waited - starved - results
        return end

    def _pool(self, work: Work, at: float) -> tuple[float, float, float]:
        """Groups are row tiles whose results all take the same time."""
        each = float(np.maximum(work.steps, work.slots).sum())
        steps_end = at + work.tiles * max(each, work.positions)
        return steps_end, steps_end + float(work.slots[-1]) - 1, 0.0

    def _conv(self, work: Work, at: float) -> tuple[float, float, float]:
        """Ends of the steps and of the results, and cycles that the steps waited for weights or windows."""
        self.loader = max(self.loader, self.starts[max(len(self.starts) - 1 - DESCRIPTORS_AHEAD, 0)])
        self.loader += WEIGHTS_PER_OPERATION
        if self._beat_cycles() > 1:
            self.loader += DESCRIPTOR_BYTES / self.memory.bytes_per_cycle
        return self._together(work, at) if work.together else self._row_tiles(work, at)

    def _row_tiles(self, work: Work, at: float) -> tuple[float, float, float]:
        """Row tile after row tile, each with all its tiles of positions."""
        results, starved, lag = at, 0.0, float(self.machine.latency)
        more, positions = work.tiles - 1, work.positions
        every = zip(work.steps.tolist(), work.weight_steps.tolist(), work.slots.tolist(), strict=True)
        for steps, weight_steps, slots in every:
            written = float(slots * work.slot_cycles)
            self._load_slots(slots)
            begin, left = at, weight_steps
            while left:  # in pieces that the ring holds
                piece = min(left, self.machine.ring)
                at = self._load_steps(piece, at)
                left -= piece
                if left or not more:
                    self.ring.free(piece, at, 1)
            at += steps - weight_steps
            starved += at - begin - steps
            results = max(results, at + lag) + written
            if more:
                at += more * max(steps, positions)
                results = max(results + more * written, at + lag + written)
                at = max(at, results - lag - min(written, steps))
                self.ring.free(piece, at, 1)
            self._hold_slots(results, slots)
        return at, results, starved

    def _together(self, work: Work, at: float) -> tuple[float, float, float]:
        """Tile of positions after tile of positions, each with all row tiles; windows come from the image unit."""
        lag, begin = float(self.machine.latency), at
        steps, written = float(work.steps.sum()), work.slots * work.slot_cycles
        for weights, slots in zip(work.weight_steps.tolist(), work.slots.tolist(), strict=True):
            self._load_slots(slots)
            at = self._load_steps(weights, at)
        at += steps - int(work.weight_steps.sum())
        pace = work.windows or Pace(0.0)
        windows, since = pace.cycles * work.positions, self.windows_until
        if self.images:
            since = self.images.popleft()
            since += max(pace.first[0], pace.first[1] / self.line_share if self._loads(since) else 0.0)
            at = max(at, since + windows)
            self.image_left = pace.bytes - pace.lead
        size = max(0, min(work.bytes, self.image_left))
        self.image_left -= size
        ahead = min(pace.ahead * pace.cycles, max(begin - since, 0.0))
        starved = at - begin - steps
        own = max(float(np.maximum(work.steps, written).sum()), float(work.positions))
        filled = own + max(0.0, pace.fill - own) / pace.row_tiles
        each = max(filled, (work.tiles * windows - ahead) / work.tiles)
        more = self._beside_weights(at, work, each, size / work.tiles) - at
        at += more
        starved += max(more - (work.tiles - 1) * own, 0.0)
        self.traffic.append(Busy(begin, at, min(size / (at - begin), self.line_share)))
        self.windows_until = at
        of_line = pace.ahead * (at - begin) / (work.tiles * work.positions)
        self.image_until = max(since + work.tiles * windows - ahead, at - of_line)
        results = at + lag + float(written[-1])
        self.ring.free(int(work.weight_steps.sum()), at, 0)
        self._hold_slots(results, int(work.slots.sum()))
        return at, results, starved

    def _loads(self, at: float) -> bool:
        """Whether weights come at a time, by the round before."""
        loading = self.before.loading if self.before else []
        number = bisect_right(loading, at, key=lambda b: b.end)
        return number < len(loading) and loading[number].begin <= at

    def _beside_weights(self, at: float, work: Work, each: float, size: float) -> float:
        """The end of all tiles but the first. Their lines, of so many bytes each, have only a share of the memory while weights come."""
        left, slower = float(work.tiles - 1), size / self.line_share
        if slower <= each or work.windows is None:
            return at + left * each
        self.crowded = True
        most = work.windows.ahead / work.positions  # tiles whose lines are there
        there, catches_up = most, max(PORT_BYTES / size - 1 / each, 0.0)
        for begin, end in self._loading_now():
            if end <= at:
                continue
            alone = min(max(begin - at, 0.0), left * each)
            at, left, there = at + alone, left - alone / each, min(most, there + alone * catches_up)
            from_lines = min(there / (1 / each - 1 / slower), max(end - at, 0.0), left * each)
            at, left, there = at + from_lines, left - from_lines / each, there - from_lines * (1 / each - 1 / slower)
            beside = min(left, max(end - at, 0.0) / slower)
            at, left = at + beside * slower, left - beside
        return at + left * each

    def _loading_now(self) -> Iterator[tuple[float, float]]:
        """When weights come during the present operation, by the round before: for longer, where that knew of no lines."""
        if self.before is None:
            return
        number, rate = len(self.starts) - 1, self.memory.bytes_per_cycle
        start, end = self.before.starts[number], self.before.computes[number + 1]
        later, longer = self.starts[-1] - start, 1.0 if self.before.before else rate / (rate - self.line_share)
        for busy in self.before.loading[bisect_right(self.before.loading, start, key=lambda b: b.end) :]:
            if busy.begin >= end:
                break
            begin = max(busy.begin, start)
            length = (min(busy.end, end) - begin) * longer
            yield begin + later, begin + later + length
            later += length * (1 - 1 / longer)

    def _load_slots(self, slots: int) -> None:
        """A row tile's header and slots, when the table has room for them."""
        while self.slots_used + slots > self.machine.table:
            free, count = self.slots.popleft()
            self.slots_used -= count
            self.loader = max(self.loader, free)
        begin = self.loader
        self.loader += (1 + slots * self.machine.slot_beats) * self._beat_cycles()
        self._note_loading(begin, self.loader)

    def _hold_slots(self, until: float, slots: int) -> None:
        self.slots.append((until, slots))
        self.slots_used += slots

    def _load_steps(self, count: int, at: float) -> float:
        """Weights of so many steps; the end of these, of one cycle each, each after its weights."""
        each = self._step_cycles()
        for steps, ready in self.ring.take(count, self.loader, each):
            self._note_loading(ready - steps * each, ready)
            # Weights come no faster than steps go, so that the last ones decide.
            at = max(at + steps, ready + WEIGHTS_TO_STEP + 1)
            self.loader = ready
        return at

    def _note_loading(self, begin: float, end: float) -> None:
        if self.line_share == PORT_BYTES:  # nobody waits for that
            return
        if self.loading and begin <= self.loading[-1].end + WEIGHTS_PER_OPERATION:
            begin = self.loading.pop().begin
        self.loading.append(Busy(begin, end, 1.0))

    def _step_cycles(self) -> float:
        """Cycles for a step's weights, now: of its beats, and of its columns, one of which is written in a cycle."""
        return max(self.machine.step_beats * self._beat_cycles(), ceil(self.machine.step_beats))

    def _beat_cycles(self) -> float:
        """Cycles for a word of every weight port, now."""
        return self._beats_beside(self.expected.at(self.loader))

    def _beats_beside(self, taken: float) -> float:
        """The same while so many bytes of each cycle are taken."""
        left = max(self.memory.bytes_per_cycle - taken, self.memory.bytes_per_cycle / 2)
        return max(1.0, PORT_BYTES * self.machine.ports / left, (self.memory.latency + 19) / READ_AHEAD)

    def slowed(self) -> bool:
        """Whether weights come slower at some time beside what goes through the other port, or an image beside weights."""
        return self.crowded or self._beats_beside(Rate(self.traffic).highest) > self._beats_beside(0.0)
