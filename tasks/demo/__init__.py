"""A real web site that needs no download, and a server for it: for the default recipe and for tests."""
