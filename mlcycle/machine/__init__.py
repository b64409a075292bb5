"""The machine, and how much of its CPU and memory this process may use. Standard library only."""
