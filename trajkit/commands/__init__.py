"""The commands, one per file; each declares options and calls one function of the library."""
