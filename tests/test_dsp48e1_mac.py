"""The behavioural twin of a DSP48E1 equals Yosys' model of the primitive, stalls included."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from backends import primitives

from accel.verilated import Module, Simulation, words

HW = Path(__file__).parents[1] / "hw" / "rtl"
PORTS = {"en_i": 1, "a_i": 25, "b_i": 18, "d_i": 25, "c_i": 48, "pc_i": 48}
# Half of all combinations: any three parameters take all their values together.
COMBINATIONS = [(1 + (o ^ a ^ c), o, a, c) for o, a, c in product((0, 1), repeat=3)]
EXTREME = {"a_i": (2**24 - 1, 2**24, 0), "b_i": (2**17 - 1, 2**17, 0), "d_i": (2**24 - 1, 2**24)}


def operands(cycles, rng):
    """Random operands, every eighth of the largest magnitude, and an enable that is low a quarter of the time."""
    inputs = {}
    for name, bits in PORTS.items():
        values = rng.integers(0, 2**bits, cycles, dtype=np.uint64)
        if name in EXTREME:
            values = np.where(
                rng.random(cycles) < 1 / 8, rng.choice(np.array(EXTREME[name], np.uint64), cycles), values
            )
        if name == "en_i":
            values = (rng.random(cycles) < 3 / 4).astype(np.uint64)
        inputs[name] = values.view(np.uint32).reshape(cycles, 2)[:, : words(bits)]
    return inputs


@pytest.mark.usefixtures("verilator")
@pytest.mark.parametrize(("registers", "output", "pre_add", "cascade"), COMBINATIONS)
def test_twin_equals_primitive(registers, output, pre_add, cascade):
    models = primitives()
    parameters = {"INPUT_REGS": registers, "OUTPUT_REG": output, "PRE_ADD": pre_add, "CASCADE": cascade}
    outputs = {"p_o": 48, "pc_o": 48}
    source = HW / "dsp48e1_mac.sv"
    twin = Simulation(Module("dsp48e1_mac", (source,), PORTS, outputs, parameters))
    real = Simulation(Module("dsp48e1_mac", (source, models), PORTS, outputs, parameters, ("SYNTHESIS",)))
    inputs = operands(20_000, np.random.default_rng(registers + 2 * output + 4 * pre_add + 8 * cascade))
    inputs["en_i"][:8] = 1  # fills the registers
    expected, found = real.run(inputs), twin.run(inputs)
    for name in outputs:
        np.testing.assert_array_equal(found[name][8:], expected[name][8:])
