"""What travels with a model: a program that needs NumPy and Pillow and nothing of this platform."""
