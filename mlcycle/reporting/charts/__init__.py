"""Charts as SVG for the pages, all on the same axes class; colours are CSS variables of the page."""
