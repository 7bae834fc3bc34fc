"""Training: people made to measure, the trainer, the evaluation. Imports refit_rt, never the other way round."""
