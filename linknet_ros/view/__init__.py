"""The page that shows a running node."""
