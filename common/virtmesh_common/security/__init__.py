"""Who may call what: roles and their table, identities, certificates and tokens."""
