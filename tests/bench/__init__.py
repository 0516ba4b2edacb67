"""Benchmarks of optimizer steps; ``python -m bench --help``, with ``tests`` on the path, says what there is."""
