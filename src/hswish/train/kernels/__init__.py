"""Training by kernels of ours: `fused` chooses the units, `fused_cpu` and `fused_gpu` compute them."""
