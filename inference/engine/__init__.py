"""The generation engine: cache, sampler, C++ kernels, answers as they grow."""
