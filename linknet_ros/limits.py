"""How large images and files may be; larger ones are refused before memory is allocated."""

#: Pixels. No camera is larger; a header that says so is damaged.
MAX_SIDE = 16384

#: Of a whole frame. A mono8 image of 16384 x 16384 has 268 MB; as BGR it would be 805 MB, and what
#: is computed for it as much again. 67 million are 200 MB.
MAX_PIXELS = 1 << 26

#: Bytes of an image, encoded or decoded; a frame of MAX_PIXELS has fewer even without compression.
MAX_IMAGE_BYTES = 256 << 20

#: Bytes of a model file; LinkNet has 23 MB.
MAX_MODEL_BYTES = 512 << 20
