"""Pixels in, pixels out: decoding, face detection, cropping."""
