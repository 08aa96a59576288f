"""ILMPQ: a trained CNN becomes a network whose every row has its own number scheme.

The Python API is `ilmpq.pipeline.quantize` with `ilmpq.options.Options`; nothing is imported here, so that parts which
need no torch stay light.
"""

__version__ = "0.1.0"
