"""How a fit behaves in its process: warnings, Ctrl-C, memory, forks. Under all storeys."""
