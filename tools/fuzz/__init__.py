"""Coverage-guided fuzzing: builds the native targets, runs all of them, and prints a table."""
