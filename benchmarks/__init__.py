"""Measurements of this project on the machine at hand: `python -m benchmarks --help`.

Each command prints what it measured in that run beside a baseline of the same run, as ratios of
medians over rounds that alternate. Nothing is compared with figures of another machine or day.
"""
