"""The engine as a block design's module: plain Verilog with AXI3 masters, an AXI4-Lite slave and their attributes.

The masters are AXI3, whose bursts have at most 16 beats, as the engine's do, and use no IDs: Zynq's HP ports take them
without a converter.

    >>> from ilmpq.geometry import Geometry
    >>> text = verilog(EngineConfig(Geometry.parse("pot4@lut:2", tk=8, tp=4), weight_ports=1, table_depth=4))
    >>> "output wire [3:0] m_axi_w0_arlen" in text
    True
"""

from __future__ import annotations

from dataclasses import dataclass

from ilmpq.design import EngineConfig

from .rtl_engine import rtl_parameters

MODULE = "ilmpq_engine"
SLAVE_ADDRESS_BITS = 12  # of the smallest range that a block design maps, 4 KiB; the engine decodes the lowest 7
OUTSTANDING_READS, OUTSTANDING_WRITES = 4, 8  # whole bursts: burst_reader's DEPTH / 16, burst_writer's BURSTS

# Signals of a channel and their bits; `<` is driven by the engine, `>` by the other side.
READ = "araddr<32 arlen<4 arsize<3 arburst<2 arcache<4 arprot<3 arvalid<1 arready>1 rdata>64 rresp>2 rlast>1 rvalid>1 rready<1"
WRITE = (
    "awaddr<32 awlen<4 awsize<3 awburst<2 awcache<4 awprot<3 awvalid<1 awready>1 "
    "wdata<64 wstrb<8 wlast<1 wvalid<1 wready>1 bresp>2 bvalid>1 bready<1"
)
LITE = (
    f"awaddr>{SLAVE_ADDRESS_BITS} awvalid>1 awready<1 wdata>32 wstrb>4 wvalid>1 wready<1 bresp<2 bvalid<1 bready>1 "
    f"araddr>{SLAVE_ADDRESS_BITS} arvalid>1 arready<1 rdata<32 rresp<2 rvalid<1 rready>1"
)
# What the engine does not say: normal memory, not cached (modifiable, bufferable); data, secure, unprivileged.
CONSTANTS = {"cache": "4'b0011", "prot": "3'b000"}


@dataclass(frozen=True)
class Signal:
    """A port of the module that belongs to an interface."""

    interface: str
    name: str
    driven: bool
    bits: int

    @property
    def port(self) -> str:
        return f"{self.interface}_{self.name}"

    def declaration(self) -> list[str]:
        direction = "output" if self.driven else "input "
        width = f" [{self.bits - 1}:0]" if self.bits > 1 else ""
        info = f'(* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 {self.interface} {self.name.upper()}" *)'
        return [info, f"{direction} wire{width} {self.port}"]


def masters(config: EngineConfig) -> list[str]:
    """The names of the engine's ways to memory, the one that also writes first."""
    return ["m_axi", *(f"m_axi_w{port}" for port in range(config.weight_ports))]


def verilog(config: EngineConfig) -> str:
    """The module's source."""
    names = masters(config)
    lines = [
        f"// ILMPQ engine {config.geometry_id:08x} for a block design; accel/engine/wrapper.py wrote it.",
        f"module {MODULE} (",
    ]
    ports = _clock_and_reset(["s_axil", *names])
    ports += _interface("s_axil", LITE, f"PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH {SLAVE_ADDRESS_BITS}")
    for name in names:
        mode, channels = ("READ_WRITE", f"{READ} {WRITE}") if name == "m_axi" else ("READ_ONLY", READ)
        ports += _interface(name, channels, _master_parameters(mode))
    for number, port in enumerate(ports):
        port[-1] += "," if number + 1 < len(ports) else ""
        lines += [f"  {line}" for line in port]
    return "\n".join([*lines, ");", *_body(config), "endmodule", ""])


def _clock_and_reset(interfaces: list[str]) -> list[list[str]]:
    return [
        [
            '(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)',
            f'(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF {":".join(interfaces)}, ASSOCIATED_RESET aresetn" *)',
            "input  wire aclk",
        ],
        [
            '(* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)',
            '(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW" *)',
            "input  wire aresetn",
        ],
        [
            '(* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 irq INTERRUPT" *)',
            '(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH" *)',
            "output wire irq",
        ],
    ]


def _master_parameters(mode: str) -> str:
    writes = f", NUM_WRITE_OUTSTANDING {OUTSTANDING_WRITES}" if mode == "READ_WRITE" else ""
    return (
        f"PROTOCOL AXI3, DATA_WIDTH 64, ADDR_WIDTH 32, ID_WIDTH 0, READ_WRITE_MODE {mode}, SUPPORTS_NARROW_BURST 0, "
        f"MAX_BURST_LENGTH 16, NUM_READ_OUTSTANDING {OUTSTANDING_READS}{writes}"
    )


def _signals(interface: str, channels: str) -> list[Signal]:
    found = []
    for field in channels.split():
        driven = "<" in field
        name, bits = field.split("<" if driven else ">")
        found.append(Signal(interface, name, driven, int(bits)))
    return found


def _interface(interface: str, channels: str, parameters: str) -> list[list[str]]:
    """Its ports; the first one carries what holds for the whole interface."""
    ports = [signal.declaration() for signal in _signals(interface, channels)]
    ports[0].insert(1, f'(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME {interface}, {parameters}" *)')
    return ports


def _body(config: EngineConfig) -> list[str]:
    names = masters(config)
    weights = names[1:][::-1]  # port j of the engine is the j-th field, the lowest first
    high = 7
    addresses = ", ".join(f"s_axil_{c}addr[{SLAVE_ADDRESS_BITS - 1}:{high}]" for c in ("aw", "ar"))
    lines = [f"  wire unused_addresses = |{{{addresses}}};  // the registers repeat every {1 << high} bytes"]
    lengths = [f"unused_{c}len" for c in ("ar", "aw")] + [f"unused_{name}_arlen" for name in weights]
    lines += [f"  wire [3:0] {name};" for name in lengths]  # a burst has at most 16 beats
    for name in names:
        for channel in ("ar", "aw") if name == "m_axi" else ("ar",):
            lines += [f"  assign {name}_{channel}{what} = {value};" for what, value in CONSTANTS.items()]

    ties = [("clk_i", "aclk"), ("rst_i", "!aresetn"), ("interrupt_o", "irq")]
    for signal in _signals("s_axil", LITE):
        cut = f"[{high - 1}:0]" if signal.name.endswith("addr") else ""
        ties.append((_engine_port(signal), signal.port + cut))
    for signal in _signals("m_axi", f"{READ} {WRITE}"):
        if signal.name.endswith("len"):
            ties.append((_engine_port(signal), f"{{unused_{signal.name}, {signal.port}}}"))
        elif not signal.name.endswith(tuple(CONSTANTS)):
            ties.append((_engine_port(signal), signal.port))
    for signal in _signals("m_axi_w", READ):
        if signal.name.endswith(tuple(CONSTANTS)):
            continue
        prefix = "unused_{0}_arlen, " if signal.name == "arlen" else ""
        fields = ", ".join(f"{prefix}{{0}}_{signal.name}".format(name) for name in weights)
        ties.append((_engine_port(signal), f"{{{fields}}}"))

    parameters = [f"    .{name}({value})" for name, value in rtl_parameters(config).items()]
    connections = [f"    .{port}({expression})" for port, expression in ties]
    return [*lines, "  engine #(", ",\n".join(parameters), "  ) core (", ",\n".join(connections), "  );"]


def _engine_port(signal: Signal) -> str:
    return f"{signal.port}_{'o' if signal.driven else 'i'}"
