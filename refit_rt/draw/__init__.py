"""Bodies drawn over pictures, and videos of them."""
