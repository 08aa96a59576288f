"""Dependencies point one way, and heavy packages stay where they are named."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ilmpq"
LAYERS = (
    {"errors", "strict"},
    {
        "schemes",
        "ratio",
        "files",
        "reporter",
        "container",
        "scales",
        "packing",
        "geometry",
        "design",
        "device",
        "rowtiles",
        "resources",
        "space",
    },
    {"node", "graph", "storage", "rowquant", "graphfile", "constants", "program", "network"},
    {
        "forward",
        "codes",
        "ranges",
        "moments",
        "calibrate",
        "emulate",
        "feedback",
        "gradient",
        "options",
        "assign",
        "score",
        "quantize",
        "evaluate",
        "lower",
        "integer",
        "naive",
        "perf",
        "windows",
        "waits",
        "schedule",
        "memory",
        "planning",
        "layout",
        "positions",
        "lanes",
        "workload",
        "bound",
        "search",
        "designfile",
    },
    {"rowsfile", "runfolder", "tune", "canonical", "zoo", "load", "preprocess", "data", "synthesize", "demo"},
    {"job", "plan", "results", "export_graph", "export"},
    {"backends", "verify"},
    {"pipeline", "console", "inspection", "doctor", "compare", "plot", "points", "measuring", "front", "rivals"},
    {"arguments"},
    {"commands_compare", "commands_search"},
    {"commands"},
    {"cli"},
)
HOMES = {
    "brevitas": set(),
    "onnx": {"load_onnx", "onnx_program", "onnx_fold", "onnx_ops", "onnx_graph", "export", "export_graph", "backends"},
    "onnxruntime": {"backends"},
    "qonnx": {"backends"},
    "finn": set(),
    "pynq": set(),
    "accel": {"commands"},  # lazily: the simulated engines
    "typer": {"commands", "commands_compare", "commands_search", "arguments"},
    "matplotlib": {"plot"},
    "sklearn": {"assign", "data"},
}
TORCH_FREE = {
    "errors",
    "strict",
    "node",
    "constants",
    "schemes",
    "ratio",
    "files",
    "container",
    "graph",
    "storage",
    "rowquant",
    "graphfile",
    "assign",
    "scales",
    "packing",
    "program",
    "naive",
}


def imports(module):
    """Names of packages imported anywhere in a file, and of our own modules imported at its top level."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    packages, ours = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            ours |= {node.module} if node.module else {name.name for name in node.names}
    return packages, {name for name in ours if (PACKAGE / f"{name}.py").exists()}


MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("package", HOMES)
def test_a_heavy_package_is_imported_only_where_it_belongs(package):
    assert {m for m in MODULES if package in imports(m)[0]} <= HOMES[package]


@pytest.mark.parametrize("module", sorted(TORCH_FREE))
def test_what_needs_no_torch_imports_none(module):
    packages, ours = imports(module)
    assert "torch" not in packages
    assert ours <= TORCH_FREE


def test_imports_point_one_way():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    assert {name for name in rank if name not in MODULES} == set()
    for module in rank:
        for other in imports(module)[1] & rank.keys():
            assert rank[other] <= rank[module], f"{module} must not import {other}"


def test_imports_have_no_cycles():
    graph = {m: imports(m)[1] for m in MODULES}
    done = set()
    while graph:
        free = [m for m, needs in graph.items() if needs <= done]
        assert free, f"modules that import each other: {sorted(graph)}"
        for m in free:
            done.add(m)
            del graph[m]


def test_nobody_imports_the_scripts():
    for path in (*PACKAGE.glob("*.py"), *PACKAGE.parent.joinpath("accel").rglob("*.py")):
        assert "import scripts" not in path.read_text()
        assert "from scripts" not in path.read_text()
