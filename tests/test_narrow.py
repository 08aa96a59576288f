"""What the arrays see of a stored byte: every byte under every narrowing that the formats allow, and as it is."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from accel.verilated import Module, Simulation

SOURCE = Path(__file__).parents[1] / "hw" / "rtl" / "narrow.sv"
BYTES = np.arange(256)

pytestmark = pytest.mark.usefixtures("verilator")


def run(engine: Simulation, **values: int | np.ndarray) -> dict[str, np.ndarray]:
    """A cycle for each element of the arrays; ports that are not named are 0."""
    cycles = max(np.size(v) for v in values.values())
    rows = {
        name: np.broadcast_to(values.get(name, 0), cycles) & 2**bits - 1 for name, bits in engine.module.inputs.items()
    }
    found = engine.run({name: row.astype(np.uint32).reshape(-1, 1) for name, row in rows.items()})
    return {name: words[:, 0] for name, words in found.items()}


def narrowings(act_bits: int) -> Iterator[tuple[int, int, int]]:
    """Shift, least code, bits of the greatest."""
    return ((k, low, b) for k in range(9 - act_bits) for low in (0, 1) for b in range(1, act_bits + 1))


@pytest.fixture(scope="module", params=[4, 5, 8])
def narrow(request: pytest.FixtureRequest) -> tuple[Simulation, int]:
    a = int(request.param)
    inputs = {
        "byte_i": 8, "ties_i": 8, "addend_i": 10, "over_i": 7, "shift_i": 3, "padding_i": 1, "least_i": 1, "limit_i": a
    }  # fmt: skip
    return Simulation(Module("narrow", (SOURCE,), inputs, {"whole_o": 8, "act_o": a}, {"ACT_BITS": a})), a


def test_every_byte_is_narrowed_as_specified(narrow: tuple[Simulation, int]) -> None:
    engine, act_bits = narrow
    for k, low, bits in narrowings(act_bits):
        byte, sub = (grid.ravel() for grid in np.meshgrid(BYTES, np.arange((255 >> k) + 1)))
        rounds, high = (2 ** (k - 1) - 1 if k else 0), 2**bits - 1
        wanted = np.clip(((byte + rounds + (byte >> k & 1)) >> k if k else byte) - sub, low, high)
        over = ~(high << k | (1 << k) - 1) >> 1
        ties = 1 << k if k else 0
        found = run(
            engine, byte_i=byte, ties_i=ties, addend_i=rounds - (sub << k), over_i=over, shift_i=k, least_i=low, limit_i=high
        )  # fmt: skip
        np.testing.assert_array_equal(found["act_o"], wanted)


def test_other_modes_see_low_or_high_bits_or_padding(narrow: tuple[Simulation, int]) -> None:
    engine, act_bits = narrow
    mask = 2**act_bits - 1
    low = run(engine, byte_i=BYTES)
    np.testing.assert_array_equal(low["act_o"], BYTES & mask)
    np.testing.assert_array_equal(low["whole_o"], BYTES)
    if act_bits < 8:
        np.testing.assert_array_equal(run(engine, byte_i=BYTES, shift_i=4)["act_o"], BYTES >> act_bits & mask)
    padded = run(engine, byte_i=BYTES[::-1], padding_i=1, limit_i=BYTES)
    np.testing.assert_array_equal(padded["act_o"], BYTES & mask)
