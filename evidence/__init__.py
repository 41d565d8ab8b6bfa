"""What the papers show, what transferkit measured of it, and the page that says so: see docs/reproduction.md."""
