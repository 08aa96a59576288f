"""What the documentation shows is executed: Python blocks run, commands run, links lead somewhere, figures are there."""

import ast
import os
import re
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ilmpq import zoo
from ilmpq.commands import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.joinpath("docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands(page):
    lines = [line.split("#")[0].strip() for text in blocks(page, "sh") for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the files that the documentation names."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in zoo.random_state_dict("cifar_resnet20", rng).items()}
    torch.save({"state_dict": state}, folder / "resnet20.pt")
    x = rng.integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "images.npz", x=x)
    np.savez(folder / "labelled.npz", x=x, y=rng.integers(0, 10, 40))
    return folder


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), namespace)


def test_the_id_of_a_geometry_follows_from_its_page():
    page = ROOT / "docs" / "engine.md"
    (text,) = blocks(page, "json")
    assert f"has the id {zlib.crc32(text.strip().encode()):#010x}:" in page.read_text()


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_commands_run(page, workplace):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    for line in commands(page):
        words = shlex.split(line)
        if words[0] == "make":
            assert words[1] in targets, f"{page.name} shows `{line}`"
        elif words[0] == "ilmpq":
            call = [sys.executable, "-m", "ilmpq.cli", *words[1:]]
            if "quantize" in words:
                call += ["--effort", "fast", "--calib-images", "16"]
            done = subprocess.run(call, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}: `{line}` gave {done.returncode}: {done.stderr}"
        else:
            assert words[0] in ("pip", "python"), f"{page.name} shows `{line}`, which no test runs"
            scripts = [w for w in words if w.endswith(".py")]
            assert all((ROOT / s).exists() for s in scripts)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_file_names_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for name in re.findall(r"`((?:ilmpq|scripts|docs|tests)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


SOURCES = [p for folder in ("ilmpq", "scripts", "tests") for p in sorted((ROOT / folder).glob("*.py"))]


def docstrings(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_files_that_docstrings_name_are_there(path):
    for text in docstrings(path):
        for name in re.findall(r"(?<![\w/])(?:ilmpq|scripts|docs|tests)/\w+\.(?:py|md)\b", text):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_option_is_in_the_guide():
    import typer

    guide = (ROOT / "docs" / "guide.md").read_text()
    quantize = typer.main.get_command(app).commands["quantize"]
    flags = [o for p in quantize.params for o in p.opts if o.startswith("--")]
    assert [f for f in flags if not re.search(rf"(?<![\w-]){f}(?![\w-])", guide)] == []
