"""One file per format that images come in: where its files are, and how they are decoded."""
