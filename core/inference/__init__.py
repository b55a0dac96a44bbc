"""Prediction from exported models: NumPy, Pillow and ONNX Runtime, no torch."""
