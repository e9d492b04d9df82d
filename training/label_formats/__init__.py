"""Labels of labelling tools and data sets, read into one form; one module per kind.

Readers of our own: datumaro (1.13) installs opencv-python-headless, whose files overwrite those of
opencv-python, and NumPy 2.2 or newer, with which cv_bridge of ROS up to Jazzy does not load.
"""
