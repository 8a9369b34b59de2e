"""The commands of curation: named in trajkit's table, imported when they are asked for."""
