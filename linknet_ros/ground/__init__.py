"""Labels to free ground: grid, scan, points."""
