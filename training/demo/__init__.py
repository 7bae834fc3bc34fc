"""The demo clip that ships with refit_rt: its motion, its room and its rendering."""
