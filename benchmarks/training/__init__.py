"""The parts of ``benchmarks/train.py``: each module has ``main(arguments)``."""
