"""Text as keystrokes of a keyboard layout, and back, by the libxkbcommon of the system."""
