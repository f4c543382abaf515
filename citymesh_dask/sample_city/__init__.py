"""A city that never was: deterministic survey files for the demo, the tests and the benchmarks."""
