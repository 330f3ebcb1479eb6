"""The benchmark suite: published layers, fair timing, checked before timed."""
