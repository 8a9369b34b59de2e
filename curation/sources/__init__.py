"""Banks of videos without cameras, one per file: `Options` and `footage(root, options) -> Iterator[Footage | Rejected]`.

`footage` is lazy, and its order is that of the table or of the sorted names.
"""
