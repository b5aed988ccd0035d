"""The same training run by two contenders, each in a process of its own, whose peak memory is its own."""
