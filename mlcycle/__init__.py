"""mlcycle: train a face detector, freeze it into one file, run that file anywhere."""

__version__ = "0.1.0"
