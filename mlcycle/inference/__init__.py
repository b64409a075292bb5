"""Inference: an image and a model file → the faces. numpy, Pillow and onnxruntime; never torch."""
