"""Which image files are read, and how they are called. Standard library only.

Every one is decoded by Pillow itself, with the size of its pixels in its header. Others that Pillow knows are left out,
because they run a program (EPS: Ghostscript, WMF: the system's renderer), are only recognised and not decoded (HDF5,
GRIB, MPEG), have no signature, so that any bytes could be one (TGA, PCD), or hold pictures of other sizes than they
say (ICO, ICNS).
"""

from __future__ import annotations

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
}
"""{Pillow's name of a format: the endings of its files}. AVIF and JPEG 2000 only where Pillow was built with them."""

EXTENSIONS = tuple(ending for endings in FORMATS.values() for ending in endings)
