"""How accurate a network is: on held-out renders, on real clips and on the data sets of the field."""
