"""Formats of image data sets, one module per format: file layout and decoding."""
