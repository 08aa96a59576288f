"""ILMPQ: a trained CNN becomes a network whose every row has its own number scheme."""

__version__ = "0.1.0"
