"""Inference: a photograph and a model file → the faces. numpy, Pillow and onnxruntime; never torch."""
