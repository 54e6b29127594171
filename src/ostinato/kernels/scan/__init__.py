"""What kernels of all backends share: a compiled scan, its gradients, autograd and operators around it."""
