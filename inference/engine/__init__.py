"""The generation engine: slots of a key/value cache, sampling, and the C++ forward pass."""
