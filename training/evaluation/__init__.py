"""Evaluation of networks: on held-out renders, on real clips and on public data sets."""
