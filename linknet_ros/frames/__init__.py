"""Image bytes of any kind to BGR arrays and back."""
