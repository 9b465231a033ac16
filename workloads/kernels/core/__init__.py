"""What the kernels share: argument checks, compilation and threads, register tiles, the running softmax."""
