"""What runs where on this machine, and why not. Needs none of the packages that it looks for."""
