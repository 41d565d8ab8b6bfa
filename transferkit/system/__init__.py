"""What the operating system does for all: files written whole, sealed records, locks, memory, signals, the terminal."""
