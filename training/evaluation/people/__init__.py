"""Made scenes of several people, cuts, edges and turns: what the product makes of them, frame by frame."""
