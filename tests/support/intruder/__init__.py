"""Code that a test runs inside a service, as one who has broken into it would."""
