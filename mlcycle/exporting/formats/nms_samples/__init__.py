"""The selection of faces outside of a graph, in three languages; an exported folder contains them."""
