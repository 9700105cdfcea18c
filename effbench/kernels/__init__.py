"""One file, one kernel. The only layer that may import torch."""
