"""The machine that this runs on, and how much of it this process may use. Standard library only."""
