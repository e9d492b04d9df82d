"""A camera for people without one: the street and its truth."""
