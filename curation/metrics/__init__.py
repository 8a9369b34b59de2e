"""What can be measured of a clip's claimed cameras: one file, one metric; docs/metrics.md says what each one sees.

A metric has the constants NEEDS (of "tracks", "adjusted", "depth", "video"), UNIT, BETTER and VERSION, and
`score(evidence) -> Score`, which never raises for an odd clip: where nothing can be said, it says why.
"""
