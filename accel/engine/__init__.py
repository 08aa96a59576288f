"""The engine: its compiler and simulators."""
