"""Coverage-guided fuzz targets of what is written in Python: docs/fuzzing.md."""
