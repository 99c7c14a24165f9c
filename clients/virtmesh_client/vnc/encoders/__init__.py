"""Encodings of pixels: Raw, ZRLE and Tight."""
