"""Boxes against boxes: average precision by COCO's and by WIDER FACE's protocol; arrays in, numbers out."""
