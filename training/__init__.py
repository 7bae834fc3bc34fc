"""Trains and evaluates networks on synthetic people and public data sets. refit_rt never imports this package."""
