"""Running pyconv's CUDA kernels on the CPU, to test them where there is no GPU."""
