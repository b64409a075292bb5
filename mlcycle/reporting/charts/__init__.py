"""Charts as SVG for the pages, drawn on one kind of axes; colours are CSS variables of the page."""
