"""How large an image may be: more is refused before anything is allocated for it."""

#: No camera is larger; a header that says so is damaged.
MAX_SIDE = 16384

#: Of a whole frame. A mono8 image of 16384 x 16384 has 268 MB; as BGR it would be 805 MB, and what
#: is computed for it as much again. 67 million are 200 MB.
MAX_PIXELS = 1 << 26
