"""How a client shows who it is: credentials, where they are stored, which of them are used."""
