"""`python -m mlcycle` is the same as `mlcycle`."""

from mlcycle.cli import main

if __name__ == "__main__":
    main()
