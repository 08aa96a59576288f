"""Whole networks on simulated engines, as backends that `ilmpq verify` compares with the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ilmpq import naive
from ilmpq.backends import Name, Outcome
from ilmpq.design import EngineConfig
from ilmpq.graph import FloatArray
from ilmpq.program import Program

from .compile import compile_program
from .hls_engine import HlsEngine
from .points import small
from .result import EngineResult
from .rtl_engine import RtlEngine, Timing

SECONDS = 30.0  # what a simulation may take for one comparison
HLS_MACS, RTL_CYCLES = 5e9, 1e4  # per second
TIMING = Timing(latency=30, stall=0.2)


# Descriptors, weight parts, bytes of scratch, input, bytes of output → what is left; an error that it reports is raised.
Machine = Callable[[Sequence[int], Sequence[bytes], int, bytes, int], EngineResult]


class EngineBackend:
    """A program on a simulated engine, every tensor kept and compared."""

    exact = True

    def __init__(self, name: Name, program: Program, config: EngineConfig, machine: Machine, macs: float) -> None:
        self.name, self.macs = name.value, macs
        self._program, self._machine = program, machine
        self._image = compile_program(program, config, keep_all=True)
        self._parts = [part.tobytes() for part in self._image.weights]

    def run(self, images: FloatArray) -> Outcome:
        inputs = naive.input_codes(self._program, images)
        every = [self._one(codes) for codes in inputs]
        codes = {name: np.stack([found[name] for found, _ in every]) for name in every[0][0]}
        logits = np.stack([output for _, output in every]).astype(np.float64) * self._program.logits_scale
        return Outcome(codes, logits)

    def _one(self, codes: NDArray[np.int64]) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
        """Codes of every layer, and integer outputs, of one image."""
        image, shapes = self._image, self._program.graph.shapes
        given = image.encode_input(codes).tobytes()
        result = self._machine(image.words, self._parts, image.scratch_bytes, given, image.output_bytes)
        scratch = np.frombuffer(result.scratch, np.uint8)
        kept = {
            name: stored.decode(image.config, scratch, view).reshape(shapes[name])
            for name, (stored, view) in image.kept.items()
        }
        output = image.decode_output(np.frombuffer(result.output, np.uint8))
        return kept, output.reshape(shapes[self._program.graph.output.name])


def hls_backend(program: Program, config: EngineConfig | None = None) -> EngineBackend:
    """The HLS engine, a small one unless another is asked for."""
    chosen = config or small(program)
    engine = HlsEngine(chosen)
    return EngineBackend(Name.HLS, program, chosen, lambda *run: engine.run(*run).require(), SECONDS * HLS_MACS)


def _checked_rtl(
    engine: RtlEngine, program: Sequence[int], parts: Sequence[bytes], scratch: int, given: bytes, output: int
) -> EngineResult:
    return engine.run(program, parts, scratch, given, output, TIMING).require()


def rtl_backend(program: Program, config: EngineConfig | None = None) -> EngineBackend:
    """The RTL engine, a small one unless another is asked for, with a memory that answers late and stalls at random."""
    chosen = config or small(program)
    engine = RtlEngine(chosen)
    macs = SECONDS * RTL_CYCLES * chosen.geometry.macs_per_cycle
    return EngineBackend(Name.RTL, program, chosen, partial(_checked_rtl, engine), macs)
