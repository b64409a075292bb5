"""Inference: an image and a model file → faces. Uses numpy, Pillow and onnxruntime, never torch."""
