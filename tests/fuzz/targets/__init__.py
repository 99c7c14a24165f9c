"""A module for each fuzz target: it exports TARGET, and its name is the target's."""
