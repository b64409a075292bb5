"""Labelled image sets: reading, checking, converting and packing them. Does not import torch."""
