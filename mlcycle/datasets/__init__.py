"""Labelled images as people have them: reading the layouts, checking them, looking at them. Knows no torch."""
